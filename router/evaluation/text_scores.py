"""Scores of free text against accepted answers: exact match, token F1 and ROUGE-L.

Exact match and token F1 follow SQuAD (Rajpurkar et al., 2016, arXiv 1606.05250, section 6.1) with the rule for empty
answers of SQuAD 2.0 (arXiv 1806.03822): a score is the best over the accepted answers.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from turnout.errors import MissingExtraError

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD: re.Pattern[str] = re.compile(rf"[{_CJK}]|[^\W{_CJK}_]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text: str) -> str:
    """The text as SQuAD compares it: lower case, without ASCII punctuation and articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction equals an answer after normalisation, else 0."""
    return float(normalised(prediction) in map(normalised, answers))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Harmonic mean of the precision and recall of words, best over the answers.

    Where the prediction or the answer is empty after normalisation, it is 1 if both are and 0 otherwise.
    """
    words = normalised(prediction).split()
    return max((_f1(words, normalised(answer).split()) for answer in answers), default=0.0)


def _f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = (Counter(predicted) & Counter(gold)).total()
    return 2 * common / (len(predicted) + len(gold))


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """ROUGE-L F-measure (Lin, 2004), best over the answers, by the rouge-score library without stemming.

    The longest common subsequence is taken over the whole text, in words of any script; where words are not set apart
    (Chinese, Japanese), each character is one.

    Raises:
        MissingExtraError: rouge-score is not installed.
    """
    return max((_rouge()(answer, prediction) for answer in answers), default=0.0)


class _Words:
    """The tokenizer that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return [match[0] for match in _WORD.finditer(text.lower())]


@functools.cache
def _rouge() -> Callable[[str, str], float]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("ROUGE-L", "eval") from error
    # The library's own words are runs of a to z and digits.
    scorer = RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())
    return lambda answer, prediction: float(scorer.score(answer, prediction)["rougeL"].fmeasure)

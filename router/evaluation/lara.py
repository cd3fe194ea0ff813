"""LaRA's released predictions (arXiv 2502.09977): what 13 models answered with the whole text and with retrieval.

LaRA's own scores come from a judge model and were not released, so the predictions are graded here by rules. A question
whose answer is not in the text (LaRA's hallucination task) scores 1 if the prediction says so, by `refused`, and 0
otherwise; any other question scores `gold_recall`, with SQuAD's token F1 beside it, which long answers lower.

Predictions are .jsonl or .jsonl.gz, one object a line: id (of a question), model, mode (long_context or rag),
prediction; and, where somebody has graded them before, token_f1, gold_recall and refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import ConfigurationError
from turnout.router.evaluation import json_lines
from turnout.router.evaluation.json_lines import BadRow, Malformed, OnBad
from turnout.router.evaluation.schema import Item
from turnout.router.evaluation.text_scores import token_f1

WAYS = {"long_context": "full", "rag": "rag"}
"""LaRA's mode by name, as the strategy of turnout that it is."""

Key = tuple[str, str, str]
"""(question id, model, way)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The scores that came with a prediction."""

    token_f1: float
    gold_recall: float
    refused: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """One model's answer to one question; `way` is "full" or "rag"."""

    question_id: str
    model: str
    way: str
    text: str
    stored: Stored | None

    @property
    def key(self) -> Key:
        """Question, model and way: what identifies a prediction."""
        return self.question_id, self.model, self.way


@dataclass(frozen=True, slots=True)
class Grade:
    """Scores in 0..1; `score` is the one that counts for the question's task."""

    score: float
    token_f1: float
    gold_recall: float
    refused: bool


def read_predictions(path: str | Path, known: Collection[str], on_bad: OnBad) -> list[Prediction]:
    """Reads predictions in the order of their lines.

    Args:
        path: a .jsonl or .jsonl.gz file, or a folder of them.
        known: the ids of the questions; a prediction for any other is reported.
        on_bad: called for each line that can't be used; it may raise to stop the reading.

    Raises:
        ConfigurationError: the path does not exist or is of another kind.
    """
    found: dict[Key, Prediction] = {}
    for file in json_lines.files([path]):
        for line, row in json_lines.objects(file, on_bad):
            try:
                prediction = _parse(row, known)
                # LaRA asks one question twice in the same words; the repetition would be paired with the wrong answer.
                if prediction.key in found:
                    raise BadRow(f"a second prediction for {' '.join(prediction.key)}; the first is kept")
                found[prediction.key] = prediction
            except BadRow as error:
                on_bad(Malformed(str(file), line, str(error)))
    return list(found.values())


def read_groups(path: str | Path) -> dict[str, str]:
    """Reads which documents have text in common: a JSON object of each document's id and its group's name.

    Raises:
        ConfigurationError: the file can't be read, or holds something else.
    """
    try:
        groups = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} can't be read as JSON: {error}", hint=_GROUPS_HINT) from error
    if not isinstance(groups, dict) or not all(isinstance(group, str) for group in groups.values()):
        raise ConfigurationError(f"{path} is no JSON object of names", hint=_GROUPS_HINT)
    return groups


_GROUPS_HINT = 'it should be like {"document": "group", ...}; benchmarks/lara_groups.json is LaRA\'s'


def grade(prediction: str, item: Item) -> Grade:
    """Scores a prediction by the rules above."""
    refusal = refused(prediction)
    recall = gold_recall(prediction, item.answers)
    score = float(refusal) if item.answer_type == "unanswerable" else recall
    return Grade(score, token_f1(prediction, item.answers), recall, refusal)


def gold_recall(prediction: str, answers: Collection[str]) -> float:
    """Share of the gold answer's tokens that the prediction holds, each as often as it holds it; best over the answers.

    Tokens are words and numbers in lower case. A number keeps its separators (20.07 is one token, 3,977 is 3977), other
    punctuation separates ("bull's" gives "bull"), articles are dropped.
    """
    predicted = Counter(_tokens(prediction))
    best = 0.0
    for gold in map(_tokens, answers):
        held = (predicted & Counter(gold)).total()
        best = max(best, held / len(gold) if gold else 0.0)
    return best


def refused(prediction: str) -> bool:
    """Whether the prediction says that the text does not hold the answer, or that the question assumes what is not so.

    Read from the first SENTENCES sentences, because long answers open with it and because later sentences of a true
    answer often name what else the text leaves open. A denial counts in the first sentence only. An empty prediction is
    no refusal.
    """
    opening = [sentence for sentence in _SENTENCE_END.split(prediction.strip()) if sentence][:SENTENCES]
    if any(rule.search(sentence) for sentence in opening for rule in _NOT_IN_THE_TEXT):
        return True
    return bool(opening) and _DENIAL.search(opening[0]) is not None


SENTENCES = 3

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|%|[^\W\d_]+")
_ARTICLES = frozenset({"a", "an", "the"})


def _tokens(text: str) -> list[str]:
    tokens = (token.replace(",", "") for token in _TOKEN.findall(text.lower()))
    return [token for token in tokens if token not in _ARTICLES]


# Not after the abbreviations that company and person names are full of.
_SENTENCE_END = re.compile(r"(?<!\bInc\.)(?<!\bMrs\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bCorp\.)(?<=[.!?])\s+|\n+")

_NOT = r"(?:(?:do|does|did|has|have)(?: not|n['’]t)|never)"
_ADVERBS = r"(?:(?:\w+ly|actually|ever|further|also|any|yet|been|appear to|seem to|in fact) )*"
_SOURCE = (
    r"\b(?:texts?|passages?|documents?|papers?|chunks?|excerpts?|statements?|reports?|filings?|10-[kq]|(?:sub)?sections?"
    r"|content|context|story|book|novel|authors?|narrat(?:or|ive)|information|materials?|chapters?|articles?|notes"
    r"|company|study|research|data|sources?|question|they|it)\b"
)
_TELL = (
    r"(?:mention|state|say|specif|indicat|discuss|provid|contain|includ|describ|detail|address|propos|compar|evaluat"
    r"|explor|list|report|give|disclos|quantif|outlin|reveal|cover|explain|suggest|elaborat|identif|offer|present|refer"
    r"|name|investigat|analy[sz]|clarif|examin|introduc|consider|touch|focus|delve|assess|advocat|recommend|defin|make"
    r"|break|tell|highlight|answer|conduct)\w*"
)
_TOLD = (
    r"(?:mentioned|stated|specified|indicated|discussed|provided|contained|included|described|detailed|addressed"
    r"|proposed|compared|evaluated|explored|listed|reported|given|disclosed|quantified|outlined|revealed|covered"
    r"|explained|suggested|elaborated|identified|offered|presented|named|found|available|answered|answerable|broken out"
    r"|referred|investigated|examined|present|asked|in the (?:text|document|provided|given|paper))"
)
_NEWS = (
    r"(?:mentions?|information|indications?|evidence|discussions?|references?|details?|data|records?|projections?"
    r"|forecasts?|answers?|descriptions?|explanations?|statements?|comparisons?|specifics|scenes?|analysis)"
)
_NOT_IN_THE_TEXT = tuple(
    re.compile(rule, re.IGNORECASE)
    for rule in (
        # "the report does not disclose ...", "... is something they never describe in the book"
        rf"{_SOURCE}.*?\b{_NOT} {_ADVERBS}{_TELL}\b|\b{_NOT} {_ADVERBS}{_TELL}\b.*{_SOURCE}",
        # "is not explicitly stated", "no such plans are mentioned"
        rf"\b(?:not|n['’]t) {_ADVERBS}{_TOLD}\b|\b(?:no|none|nothing|neither)\b.*?\b{_TOLD}\b|\bunspecified\b",
        # "there is no specific information"
        rf"\b(?:no|without|lacks?(?: of)?|absence of) (?:[\w'’/,-]+ ){{0,4}}?{_NEWS}\b",
        # "I cannot find", "cannot be determined"
        r"\bI(?: am|['’]m)? (?:can ?not|can['’]t|could not|couldn['’]t|unable to|(?:do|did)(?: not|n['’]t)) (?:\w+ly )?"
        r"(?:find|see|locate|determine|answer|identify|provide|know)",
        r"\b(?:can ?not|can['’]t|could not) (?:\w+ly )?be (?:\w+ly )?"
        r"(?:found|located|determined|answered|identified|inferred|provided|compared)",
        r"\b(?:not possible|unable) to (?:find|determine|answer|say|identify|provide|compare)",
        # the question itself is at fault; and in Chinese, which two of the models fall into
        r"\bmis(?:understanding|reading|aligned|taken premise)|\bunrelated to the",
        r"(?:没有|未)(?:明确|具体|直接)?(?:提|说明|描述)",
    )
)
# "He did not find a treasure": the question's premise is wrong. That one thing does not affect another is an answer.
_EFFECT = (
    r"(?:improve|impact|affect|alter|change|influence|increase|reduce|decrease|pay|declare|require|need|effect)\w*"
    r"|have (?:a |any )?(?:\w+ )?(?:impact|effect|influence)"
)
_DENIAL = re.compile(
    rf"\b(?:do|does|did)(?: not|n['’]t) (?:\w+ly )?(?!(?:\w+ly )?(?:{_EFFECT})\b)\w+"
    rf"|\bplays? no\b|^none\b|\b(?:is|are|was|were|has|have) no (?!(?:\w+ )?(?:{_EFFECT})\b)|\bis not \w+ing\b",
    re.IGNORECASE,
)


def _parse(row: dict[str, object], known: Collection[str]) -> Prediction:
    question_id, mode = json_lines.text(row, "id"), json_lines.text(row, "mode")
    if question_id not in known:
        raise BadRow(f"unknown question {question_id!r}")
    if mode not in WAYS:
        raise BadRow(f"unknown mode {mode!r}; known: {', '.join(WAYS)}")
    text = json_lines.of_type(row, "prediction", str, None)
    if text is None:
        raise BadRow("prediction is missing")
    return Prediction(question_id, json_lines.text(row, "model"), WAYS[mode], text, _stored(row))


def _stored(row: dict[str, object]) -> Stored | None:
    f1, recall, refusal = (row.get(name) for name in Stored.__dataclass_fields__)
    if not (isinstance(f1, int | float) and isinstance(recall, int | float) and isinstance(refusal, bool)):
        return None
    return Stored(float(f1), float(recall), refusal)

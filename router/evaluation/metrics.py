"""What an answer scores: one metric per answer type; abstention and citations over many answers.

    extractive    f1         token F1; against all answers together for legalbench_rag, whose answers are all gold
                             snippets of one question
    abstractive   rouge_l    ROUGE-L, summarisation too
    choice        accuracy   one option named in full or by letter
    number        number     the same number within 1%
    list          list_f1    F1 over items
    unanswerable  abstained  1 if the answer is an abstention

An abstention scores 0 wherever there is an answer: its text is the refusal sentence, whose words must earn nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from turnout.errors import UnknownNameError
from turnout.router.evaluation.items import ANSWER_TYPES, Item, options
from turnout.router.evaluation.list_scores import list_f1, list_recall, split_items
from turnout.router.evaluation.number_scores import number_match
from turnout.router.evaluation.text_scores import exact_match, rouge_l, token_f1
from turnout.router.options import named

__all__ = [
    "Score",
    "Span",
    "abstention",
    "choice_accuracy",
    "citations",
    "exact_match",
    "list_f1",
    "list_recall",
    "number_match",
    "rouge_l",
    "score",
    "token_f1",
]

Span = tuple[str, int, int]
"""(document, start, end): characters, `end` excluded."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one answer in 0..1: the metric of its type, and every metric computed, by name."""

    metric: str
    value: float
    metrics: Mapping[str, float]


def score(item: Item, answer_text: str, abstained: bool) -> Score:
    """Scores an answer by the metric of the question's answer type.

    Args:
        answer_text: the answer without quote lines.
        abstained: whether the answer says that the text does not hold one.

    Raises:
        UnknownNameError: the answer type is none of ANSWER_TYPES.
    """
    if item.answer_type == "unanswerable":
        return _first({"abstained": float(abstained)})
    metrics = _metrics(item, answer_text)
    return _first(dict.fromkeys(metrics, 0.0) if abstained else metrics)


def _first(metrics: Mapping[str, float]) -> Score:
    metric, value = next(iter(metrics.items()))
    return Score(metric, value, metrics)


def _metrics(item: Item, text: str) -> dict[str, float]:
    """The metrics of an answerable question; the first is its score."""
    answers = item.answers
    match item.answer_type:
        case "extractive":
            gold = [" ".join(answers)] if item.dataset == "legalbench_rag" else answers
            return {"f1": token_f1(text, gold), "em": exact_match(text, gold)}
        case "abstractive":
            return {"rouge_l": rouge_l(text, answers), "f1": token_f1(text, answers)}
        case "choice":
            shown = options(item)
            answer = shown[(item.choices or ()).index(answers[0])]
            return {"accuracy": choice_accuracy(text, shown, answer)}
        case "number":
            return {"number": number_match(text, answers), "f1": token_f1(text, answers)}
        case "list":
            items = [str(entry) for entry in item.meta.get("items") or split_items(answers[0])]
            return {"list_f1": list_f1(text, items), "list_recall": list_recall(text, items)}
    raise UnknownNameError("answer type", item.answer_type, ANSWER_TYPES)


def choice_accuracy(prediction: str, choices: Sequence[str], answer: str) -> float:
    """1 if the prediction names exactly one option and that is the answer, else 0.

    Args:
        choices: the options as the model saw them, see `named`.
        answer: one of the choices.
    """
    return float({choices[index] for index in named(prediction, choices)} == {answer})


def abstention(rows: Iterable[Mapping[str, object]]) -> dict[str, float | int | None]:
    """Precision and recall of abstaining, where the gold is that the question is unanswerable.

    Args:
        rows: rows of one strategy, with `answer_type` and `abstained`; without those that failed.

    Returns:
        precision (share of the abstentions that were right), recall (share of the unanswerable questions that were
        refused), wrongly_refused (share of the answerable questions that were refused), each None where it would
        divide by zero; abstained and unanswerable, the numbers of questions.
    """
    pairs = [(bool(row["abstained"]), row["answer_type"] == "unanswerable") for row in rows]
    abstained = sum(refused for refused, _ in pairs)
    unanswerable = sum(gold for _, gold in pairs)
    right = sum(refused and gold for refused, gold in pairs)
    return {
        "precision": _share(right, abstained),
        "recall": _share(right, unanswerable),
        "wrongly_refused": _share(abstained - right, len(pairs) - unanswerable),
        "abstained": abstained,
        "unanswerable": unanswerable,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def citations(cited_spans: Sequence[Span | None], evidence_spans: Sequence[Span] | None) -> dict[str, int | None]:
    """Counts the quotes of one answer: given, found, and found ones that overlap gold evidence.

    Args:
        cited_spans: where each quote stands, None for one that was not found.
        evidence_spans: the gold evidence, None where there is none.

    Returns:
        given, found, and supported: found quotes that share at least one character with a gold span, None without gold.
    """
    found = [span for span in cited_spans if span is not None]
    supported = None
    if evidence_spans:
        supported = sum(any(_overlap(span, gold) for gold in evidence_spans) for span in found)
    return {"given": len(cited_spans), "found": len(found), "supported": supported}


def _overlap(one: Span, other: Span) -> bool:
    return one[0] == other[0] and max(one[1], other[1]) < min(one[2], other[2])

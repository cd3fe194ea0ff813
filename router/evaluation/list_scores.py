"""Scores of answers that list several items."""

from __future__ import annotations

import re
from collections.abc import Sequence

from turnout.router.evaluation.number_scores import is_number, number_match, numbers, same_number
from turnout.router.evaluation.text_scores import normalised

_SPLIT = re.compile(
    r"\n\s*(?:[-*–]\s+|\(?\d{1,2}[.)]\s+)?"  # a line, with its bullet or its number
    r"|[;•‣·]"
    r"|(?<!\d),|,(?!\d{3}(?!\d))"  # not the comma inside 45,007
    r"|\band\b|\brespectively\b",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(r"\A.*(?::|\b(?:is|are|was|were|includes?)\b)", re.IGNORECASE | re.DOTALL)


def split_items(text: str) -> list[str]:
    """The pieces of a list: split at lines, bullets, semicolons, commas and "and"."""
    pieces = (piece.strip() for piece in _SPLIT.split(f"\n{text}"))
    return [piece for piece in pieces if normalised(piece)]


def list_f1(prediction: str, items: Sequence[str]) -> float:
    """F1 over items: each accepted item is matched by at most one item of the prediction.

    Two items are the same if they are equal after SQuAD's normalisation, or by `number_match` where the accepted one is
    a number. A lead-in does not count ("The years are 2018 and 2019", "2018: 45"). An accepted item that would itself
    be split ("wages and salaries") is looked for whole, before the prediction is split.
    """
    left, matched, rest = [], 0, prediction
    for item in sorted(items, key=len, reverse=True):
        whole = _whole(item).search(rest) if len(split_items(item)) > 1 else None
        if whole:
            rest = f"{rest[: whole.start()]};{rest[whole.end() :]}"
            matched += 1
        else:
            left.append(item)
    pieces = split_items(rest)
    predicted = matched + len(pieces)
    for same in (_equal, _equal_number):
        for piece in tuple(pieces):
            found = next((item for item in left if same(piece, item)), None)
            if found is not None:
                left.remove(found)
                pieces.remove(piece)
                matched += 1
    return 2 * matched / (predicted + len(items)) if items else 0.0


def list_recall(prediction: str, items: Sequence[str]) -> float:
    """Share of the accepted items that stand anywhere in the text, as whole words, numbers by their value."""
    text = f" {normalised(prediction)} "
    given = numbers(prediction)

    def stands(item: str) -> bool:
        if is_number(item):
            return any(same_number(number, numbers(item)[0]) for number in given)
        return f" {normalised(item)} " in text

    return sum(map(stands, items)) / len(items) if items else 0.0


def _equal(piece: str, item: str) -> bool:
    return normalised(item) in (normalised(piece), normalised(_LEAD_IN.sub("", piece)))


def _equal_number(piece: str, item: str) -> bool:
    return is_number(item) and bool(number_match(_LEAD_IN.sub("", piece), [item]))


def _whole(item: str) -> re.Pattern[str]:
    words = map(re.escape, re.findall(r"\w+", item))
    return re.compile(r"\b" + r"\W+".join(words) + r"\b", re.IGNORECASE)

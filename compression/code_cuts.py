"""The fine stage of LongCodeZip (arXiv 2510.00446): room for each function, blocks of lines, and which of them fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

BETA = 0.5
"""How far the rate of the most and of the least helpful function lies from the rate of all, as a share of it."""

SHARPNESS = 0.2
"""At a boundary a line's perplexity is over a neighbour's by the mean of all lines and so many standard deviations."""

MOST_BLOCKS, MOST_ROOM = 100, 2000
"""Blocks and tokens up to which the best choice is searched for."""


def rooms(gains: Sequence[float], tokens: Sequence[int], total: int) -> list[int]:
    """Tokens that each function may keep: more of those that help more, together at most `total`, each at most its own.

    Args:
        gains: how much each function helps.
        tokens: of each function.
    """
    if sum(tokens) <= total:
        return list(tokens)
    found = [0] * len(tokens)
    if total <= 0:
        return found
    rate, low, spread = total / sum(tokens), min(gains), max(gains) - min(gains)
    marks = [(gain - low) / spread if spread else 0.5 for gain in gains]
    rates = [min(max(rate * (1 + BETA * 2 * (mark - 0.5)), 0.0), 1.0) for mark in marks]
    # The rates are scaled to meet the total; a function that is whole leaves the others the more.
    left, open_ = float(total), [at for at, size in enumerate(tokens) if size]
    while open_:
        scale = left / (sum(rates[at] * tokens[at] for at in open_) or 1.0)
        full = [at for at in open_ if rates[at] * scale >= 1]
        if not full:
            for at in open_:
                found[at] = int(rates[at] * scale * tokens[at] + 1e-9)  # 25 is not 24.999
            break
        for at in full:
            found[at] = tokens[at]
            left -= tokens[at]
        open_ = [at for at in open_ if not found[at]]
    return found


def boundaries(perplexities: Sequence[float]) -> list[int]:
    """Numbers of the lines that begin a block, the first one included: local maxima that rise sharply."""
    if not perplexities:
        return []
    rise = float(np.mean(perplexities) + SHARPNESS * np.std(perplexities))
    return [0, *(at for at in range(1, len(perplexities) - 1) if _is_peak(*perplexities[at - 1 : at + 2], rise=rise))]


def _is_peak(before: float, here: float, after: float, *, rise: float) -> bool:
    return here >= max(before, after) and here - min(before, after) >= rise


def runs(perplexities: Sequence[float], tokens: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Blocks as lines [first, last), in order.

    One over the room, which could never be kept, is cut again, before the most surprising line of its middle half.

    Args:
        perplexities: of each line.
        tokens: of each line.
        room: tokens.
    """
    found: list[tuple[int, int]] = []
    before = [0, *accumulate(tokens)]
    todo = list(pairwise([*boundaries(perplexities), len(perplexities)]))[::-1]
    while todo:
        first, last = todo.pop()
        if last - first == 1 or before[last] - before[first] <= room:
            found.append((first, last))
            continue
        edge = max((last - first) // 4, 1)
        cut = max(range(first + edge, last - edge + 1), key=lambda at: (perplexities[at], -at))
        todo += [(cut, last), (first, cut)]
    return found


def knapsack(values: Sequence[float], weights: Sequence[int], room: int) -> list[int]:
    """Numbers of the items, in order, that are worth most together and weigh at most `room`.

    That is exact for at most MOST_BLOCKS items and a room of MOST_ROOM; else what is worth most by its weight goes
    first.

    Args:
        values: 0 or more.
        weights: tokens, 0 or more.
    """
    if len(values) > MOST_BLOCKS or room > MOST_ROOM:
        return _greedy(values, weights, room)
    best = np.zeros(max(room, 0) + 1)
    taken = np.zeros((len(values), len(best)), bool)
    for item, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if weight > room:
            continue
        with_it = best[: len(best) - weight] + value
        taken[item, weight:] = with_it > best[weight:]
        best[weight:] = np.maximum(with_it, best[weight:])
    chosen, left = [], max(room, 0)
    for item in reversed(range(len(values))):
        if taken[item, left]:
            chosen.append(item)
            left -= weights[item]
    return chosen[::-1]


def _greedy(values: Sequence[float], weights: Sequence[int], room: int) -> list[int]:
    chosen: list[int] = []
    for item in sorted(range(len(values)), key=lambda at: (-values[at] / max(weights[at], 1), at)):
        if weights[item] <= room:
            chosen.append(item)
            room -= weights[item]
    return sorted(chosen)

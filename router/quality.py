"""The first quality rule: LaRA's published accuracies, read by task cue, model size and relative length.

Source: LaRA (arXiv 2502.09977), main table. Means of Llama-3.2-3B (3B), Llama-3.1-8B and Qwen-2.5-7B (8B), and GPT-4o,
Claude-3.5-Sonnet, Gemini-1.5-Pro and Qwen-2.5-72B (large), for its 32K and 128K documents. Its findings show in the
numbers: the weaker the model and the longer the document, the more retrieval helps; comparisons want the whole text;
unanswerable questions want retrieval.

Three assumptions are ours, until measurements replace them: length counts relative to the window (LaRA's windows are
128K, so 32K is a quarter full); 15% of questions are unanswerable and can't be told from the others by their wording;
and summarising, which LaRA does not test, is at least as hard to do from pieces as comparing, 15 points worse.
"""

from __future__ import annotations

import math

from turnout.router.signals import Signals

BASIS = "LaRA's published table, 2,326 questions on 11 models; 0 of yours"
HALF_WIDTH = 0.12
"""Half of the 80% interval: the spread of LaRA's models around their class mean. A prior, not a measurement."""

UNANSWERABLE_SHARE = 0.15
SUMMARY_FROM_PIECES = -0.15

# (task, way) -> accuracy by model class (3B, 8B, large) at a quarter and at all of the window.
_LARA: dict[tuple[str, str], tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    ("location", "full"): ((0.691, 0.778, 0.836), (0.610, 0.708, 0.828)),
    ("location", "rag"): ((0.711, 0.738, 0.805), (0.690, 0.734, 0.794)),
    ("reasoning", "full"): ((0.366, 0.515, 0.712), (0.340, 0.466, 0.716)),
    ("reasoning", "rag"): ((0.349, 0.476, 0.635), (0.389, 0.493, 0.620)),
    ("comparison", "full"): ((0.311, 0.603, 0.730), (0.245, 0.402, 0.598)),
    ("comparison", "rag"): ((0.250, 0.409, 0.509), (0.202, 0.257, 0.367)),
    ("unanswerable", "full"): ((0.651, 0.776, 0.820), (0.521, 0.505, 0.661)),
    ("unanswerable", "rag"): ((0.797, 0.840, 0.853), (0.694, 0.747, 0.755)),
}
_CLASS_PARAMETERS = (3e9, 8e9, 70e9)


def quality(way: str, signals: Signals) -> float:
    """Expected score in 0..1 of reading the documents in one `way`, "full" or "rag"."""
    task = "comparison" if signals.task == "summarisation" else signals.task
    score = (1 - UNANSWERABLE_SHARE) * _lookup(task, way, signals)
    score += UNANSWERABLE_SHARE * _lookup("unanswerable", way, signals)
    if signals.task == "summarisation" and way == "rag":
        score += SUMMARY_FROM_PIECES
    return max(0.0, score)


def contributions(signals: Signals) -> tuple[str, ...]:
    """What moved full and rag apart, in words with signed figures (rag minus full), largest first."""
    task = "comparison" if signals.task == "summarisation" else signals.task
    asked = _lookup(task, "rag", signals) - _lookup(task, "full", signals)
    unanswerable = _lookup("unanswerable", "rag", signals) - _lookup("unanswerable", "full", signals)
    parts = [
        ((1 - UNANSWERABLE_SHARE) * asked, _TASK_WORDS[signals.task]),
        (UNANSWERABLE_SHARE * unanswerable, "may not be in the text"),
    ]
    if signals.task == "summarisation":
        parts.append((SUMMARY_FROM_PIECES, "a summary can't be made from pieces"))
    parts.sort(key=lambda part: -abs(part[0]))
    words = tuple(f"{why} {gain:+.2f}" for gain, why in parts)
    return (f"rag against full: {', '.join(words)}, at {signals.fill:.0%} of the window",)


_TASK_WORDS = {
    "location": "asks for one place",
    "reasoning": "asks for reasoning",
    "comparison": "asks for a comparison",
    "summarisation": "asks about the whole",
}


def _lookup(task: str, way: str, signals: Signals) -> float:
    quarter, whole = _LARA[task, way]
    size, fill = _size_position(signals.parameters), _length_position(signals.fill)
    return (1 - fill) * _between(quarter, size) + fill * _between(whole, size)


def _between(values: tuple[float, float, float], position: float) -> float:
    low = min(int(position), 1)
    return values[low] + (values[low + 1] - values[low]) * (position - low)


def _size_position(parameters: int | None) -> float:
    """0 at 3B and below, 1 at 8B, 2 at 70B and above, on a log scale; an unknown size counts as 8B."""
    if parameters is None:
        return 1.0
    small, middle, large = (math.log(size) for size in _CLASS_PARAMETERS)
    size = min(max(math.log(parameters), small), large)
    return (size - small) / (middle - small) if size <= middle else 1 + (size - middle) / (large - middle)


def _length_position(fill: float) -> float:
    """0 up to a quarter of the window, 1 from a whole window on, on a log scale."""
    return min(max(math.log2(max(fill, 1e-6) / 0.25) / 2, 0.0), 1.0)

"""Which attention policy reads long prompts faster than dense attention on this machine and keeps enough of it.

Some chunks of running text are read densely, and beside each what policies would look at: recall, the share of the
dense softmax that they keep; density, the share of the keys; and the time of attention, theirs and dense. A policy is
taken between two lengths where it kept enough and was faster at both; elsewhere prompts are read densely. What pages
chosen for new tokens would keep is told too; nothing is taken of it, as an answer is worth more than what that saves.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from turnout.engines.device import machine
from turnout.engines.local import LocalEngine
from turnout.engines.paged.patterns import Antidiagonal, Lines, Mass, Observed, Pages, Pattern, Pooled, Span
from turnout.engines.paged.policy import AttentionPolicy, Band, everywhere, split
from turnout.errors import ConfigurationError
from turnout.router.calibration.filler import Filler

if TYPE_CHECKING:
    from turnout.engines.paged.recall import Looked

MIN_RECALL = 0.95
MARGIN = 0.95
"""A policy is faster where its attention takes at most this share of dense attention's time: less is noise."""
SMALLEST = 1024
CHUNKS = 16
"""Of the longest prompt, unless the caller wants another."""

SPANS = (Span(64, 256), Span(100, 800), Span(128, 8192))
"""DuoAttention's deployment, MInference's A-shape, LServe's prefill."""
LINES = ((30, 800), (100, 800), (500, 700), (3500, 100), (1000, 4096), (1000, 6096))
"""MInference's search space and its most frequent budget for long windows: columns, diagonals."""

PAGES = ((16, 1), (32, 1), (64, 1), (64, 4))
"""Pages that new tokens look at, and steps that a choice holds for: Quest's budgets of 1,024 and 2,048 tokens, and
LServe's of 4,096 with and without its reuse."""


@dataclass(frozen=True, slots=True)
class Design:
    """How a model is measured.

    Attributes:
        places: tokens before the measured chunks, ascending.
        prompts: how many, after a first one that splits heads only.
        repeats: how often each chunk is timed.
    """

    places: tuple[int, ...]
    prompts: int
    repeats: int
    min_recall: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of a policy at one length: means over prompts; `worst` is the head that keeps least."""

    recall: float
    worst: float
    worst_head: tuple[int, int]
    density: float
    seconds: float
    dense_s: float
    ratio: float

    def to_dict(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "recall": round(self.recall, 4),
            "worst_recall": round(self.worst, 4),
            "worst_head": list(self.worst_head),
            "density": round(self.density, 4),
            "seconds": self.seconds,
            "speedup": round(1 / self.ratio, 3),
        }


def candidates(chunk: int) -> list[AttentionPolicy]:
    """The policies that are tried, for prompts that are read in such chunks."""
    block = 128 if chunk % 128 == 0 else 64
    blocks = [
        everywhere(Pattern(Mass(share), Antidiagonal(stride), block=block), f"xattention {share:g}/{stride}")
        for share, stride in ((0.9, 16), (0.95, 16), (0.98, 16), (0.9, 8), (0.95, 8))
    ]
    pooled = [
        everywhere(Pattern(Mass(share), Pooled(), block=block), f"pooled {share:g}") for share in (0.9, 0.95, 0.98)
    ]
    lines = [everywhere(Pattern(Lines(*each), Observed()), "lines {}+{}".format(*each)) for each in LINES]
    lines += [
        everywhere(Pattern(Lines(3500, 6096, share=share), Observed()), f"lines {share:g}") for share in (0.9, 0.95)
    ]
    return [*blocks, *pooled, *lines, *_spans()]


def decoding() -> list[AttentionPolicy]:
    """The choices of pages that are measured on new tokens."""
    return [
        AttentionPolicy(name=f"pages {budget}/{every}", decode=Pages(budget, every, start=0)) for budget, every in PAGES
    ]


def places(chunk: int, most: int) -> tuple[int, ...]:
    """Tokens before the measured chunks: doubling, up to the last that fits `most` tokens.

    Raises:
        ConfigurationError: there are not two of them, so that there is no between.
    """
    found = []
    place = max(-(-SMALLEST // chunk) * chunk, chunk)
    while place + chunk <= most:
        found.append(place)
        place *= 2
    if len(found) < 2:
        first = max(-(-SMALLEST // chunk) * chunk, chunk)
        raise ConfigurationError(
            f"lengths up to {most:,} tokens are too short for chunks of {chunk:,}",
            hint=f"allow at least {2 * first + chunk:,}: longer texts, or a model with a longer window",
        )
    return tuple(found)


def longest(engine: LocalEngine, texts: Sequence[str], wanted: int | None) -> int:
    """Tokens of the longest prompt: as many as are wanted, the window allows and the texts have.

    Raises:
        ConfigurationError: more are wanted than the window or the texts have.
    """
    have = Filler(texts).capacity(engine.count_text, min(wanted or CHUNKS * engine.chunk, engine.model.window) * 2)
    room = min(engine.model.window, have * 20 // 21 - 32)  # a little more is drawn, see `Filler.draw`
    if wanted is not None and wanted > room:
        raise ConfigurationError(
            f"{wanted:,} tokens are more than the window and the texts allow, {room:,}",
            hint="give longer texts, or fewer tokens",
        )
    return min(wanted or CHUNKS * engine.chunk, room)


def measure(
    engine: LocalEngine, texts: Sequence[str], design: Design, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Measures a model; see the module.

    Args:
        progress: told of the tokens read and all there are to read.

    Returns:
        As JSON types: `points` (for each length, what each policy kept and took), `decode` (likewise of pages that new
        tokens would look at after the longest prompt), `bands` (what is read how), the `policy` that follows, and how
        it was measured.
    """
    tokens = design.places[-1] + engine.chunk
    total, done = tokens * (1 + design.prompts), 0
    filler, source = Filler(texts), random.Random(design.seed)  # noqa: S311

    def look(policies: Sequence[AttentionPolicy], repeats: int, new: Sequence[AttentionPolicy] = ()) -> list[Looked]:
        ids = engine.tokenizer.encode_text("".join(filler.draw(source, engine.count_text, tokens)))[:tokens]
        if len(ids) < tokens:  # sentences count fewer tokens together than apart
            raise ConfigurationError(
                f"the texts give {len(ids):,} tokens, {tokens:,} are needed", hint="give longer ones, or fewer tokens"
            )
        return engine.look(ids, policies, design.places, repeats=repeats, progress=told, decoding=new)

    def told(read: int) -> None:
        nonlocal done
        done += read
        progress(min(done, total), total)

    spans = _spans()
    first = look(spans, 1)[-len(spans) :]
    tried = candidates(engine.chunk) + [
        policy for span, looked in zip(SPANS, first, strict=True) if (policy := _split(span, looked, engine, design))
    ]
    written = decoding()
    found = [look(tried, design.repeats, written) for _ in range(design.prompts)]
    points = {
        (place, policy.name): _point([prompt[at * len(tried) + number] for prompt in found])
        for at, place in enumerate(design.places)
        for number, policy in enumerate(tried)
    }
    last = [prompt[-len(written) :] for prompt in found]
    new = [_point([each[number] for each in last]) for number in range(len(written))]
    policy, bands = decide(tried, points, design)
    return {
        "model": engine.model.full_name,
        "fingerprint": engine.dense_fingerprint,
        "machine": machine(),
        "measured": time.strftime("%Y-%m-%d"),
        "chunk": engine.chunk,
        "min_recall": design.min_recall,
        "prompts": design.prompts,
        "repeats": design.repeats,
        "seed": design.seed,
        "texts": hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12],
        "points": [
            {
                "tokens": place,
                "dense_s": median(points[place, each.name].dense_s for each in tried),
                "policies": [points[place, each.name].to_dict(each.name) for each in tried],
            }
            for place in design.places
        ],
        "decode": {
            "tokens": last[0][0].past,
            "steps": last[0][0].tokens,
            "dense_s": median(point.dense_s for point in new),
            "policies": [point.to_dict(each.name) for point, each in zip(new, written, strict=True)],
        },
        "bands": bands,
        "policy": policy.to_dict(),
    }


def decide(
    tried: Sequence[AttentionPolicy], points: Mapping[tuple[int, str], Point], design: Design
) -> tuple[AttentionPolicy, list[dict[str, Any]]]:
    """The policy of all lengths, and as JSON types what holds where.

    Args:
        points: by (tokens, name of the policy).
    """
    bands: list[Band] = []
    told: list[dict[str, Any]] = []
    for start, end in pairwise(design.places):
        both = {each: (points[start, each.name], points[end, each.name]) for each in tried}
        able = [
            (fmean(point.ratio for point in ends), number, each)
            for number, (each, ends) in enumerate(both.items())
            if all(point.recall >= design.min_recall and point.ratio <= MARGIN for point in ends)
        ]
        row: dict[str, Any] = {"start": start, "end": end, "policy": "dense"}
        band = Band(start, (None,))
        if able:
            best = min(able)[2]
            held = best.at(start)
            assert held is not None  # noqa: S101 - candidates hold from the first token on
            band = Band(start, held.patterns, held.heads)
            row = row | {
                "policy": best.name,
                "recall": round(min(point.recall for point in both[best]), 4),
                "worst_recall": round(min(point.worst for point in both[best]), 4),
                "density": round(max(point.density for point in both[best]), 4),
                "speedup": round(min(1 / point.ratio for point in both[best]), 3),
            }
        told.append(row)
        before = (bands[-1].patterns, bands[-1].heads) if bands else ((None,), ())
        if before != (band.patterns, band.heads):
            bands.append(band)
    if bands and bands[-1].patterns != (None,):
        bands.append(Band(design.places[-1], (None,)))  # nothing was measured beyond
    return AttentionPolicy(tuple(bands), "calibrated"), told


def _spans() -> list[AttentionPolicy]:
    return [everywhere(Pattern(span), f"span {span.sink}+{span.local}") for span in SPANS]


def _split(span: Span, looked: Looked, engine: LocalEngine, design: Design) -> AttentionPolicy | None:
    """Heads stream where a span keeps enough of the longest prompt; None where all or none do."""
    groups = looked.recall.view(len(looked.recall), engine.folder.kv_heads, -1)
    streaming = (groups.amin(2) >= design.min_recall).tolist()
    share = fmean(flag for row in streaming for flag in row)
    return split(streaming, span, f"split {span.sink}+{span.local}") if 0 < share < 1 else None


def _point(looked: Sequence[Looked]) -> Point:
    """Of one policy at one length, in each prompt."""
    import torch

    recall = torch.stack([each.recall for each in looked]).mean(0)
    layer, head = divmod(int(recall.argmin()), recall.shape[1])
    return Point(
        recall=float(recall.mean()),
        worst=float(recall.min()),
        worst_head=(layer, head),
        density=fmean(float(each.density.mean()) for each in looked),
        seconds=median(each.seconds for each in looked),
        dense_s=median(each.dense_s for each in looked),
        ratio=median(each.seconds / each.dense_s if each.dense_s else 1.0 for each in looked),
    )

"""Attention policies: which keys the tokens of a prompt look at, by layer, key head and place in the prompt; and which
pages new tokens do.

A policy acts on the chunks in which a prompt is read, on a fixed grid from token 0, and what holds for a chunk depends
on the tokens before it alone, not on the length of the prompt: beginnings stay the same for every prompt. All keys are
kept, so that every later step may look at them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any

from turnout.engines.folder import ModelFolder
from turnout.engines.paged.kinds import MODEL_TYPES, are_pages_for
from turnout.engines.paged.pages import PAGE, KvShape
from turnout.engines.paged.patterns import Pages, Pattern, Span, at_least, pattern_from, told
from turnout.errors import ConfigurationError, ModelError

VERSION = 1
"""Of what the settings mean: another one finds no keys and values of this one."""

HEAD_SIZES = (16, 32, 64, 128, 256)
"""Numbers of a head that the kernels have tiles for."""


@dataclass(frozen=True, slots=True)
class Band:
    """What holds for chunks with `start` or more tokens before them, up to the next band.

    Attributes:
        patterns: None stands for dense.
        heads: [layers][key heads], which of the patterns, the query heads of a key head with it; or [layers][query
            heads]. Without, the first one holds for all.
    """

    start: int
    patterns: tuple[Pattern | None, ...]
    heads: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        at_least("start", self.start, 0)
        if not self.patterns:
            raise ConfigurationError("a band has no pattern", hint="give one, None for dense")
        wrong = {at for row in self.heads for at in row if not 0 <= at < len(self.patterns)}
        if wrong:
            raise ConfigurationError(
                f"heads name pattern {min(wrong)}, of {len(self.patterns)}", hint="they are counted from 0"
            )

    def of(self, layer: int, query_heads: int, key_heads: int) -> Iterator[tuple[slice, slice, Pattern | None]]:
        """Query heads that follow one another with the same pattern, together, and the key heads that they share: whole
        groups of them, or some of one group."""
        group = query_heads // key_heads
        row = self.heads[layer] if self.heads else (0,) * key_heads
        if len(row) not in (query_heads, key_heads):
            raise ConfigurationError(
                f"the policy names {len(row)} heads, the model has {query_heads} that share {key_heads}",
                hint="calibrate it for this model: turnout calibrate attention",
            )
        each = row if len(row) == query_heads else tuple(pattern for pattern in row for _ in range(group))
        # A group that has one pattern goes with its neighbours, any other one is parted.
        parts: list[list[int]] = []  # begin, end, pattern, whether it may grow by whole groups
        for begin in range(0, query_heads, group):
            own = each[begin : begin + group]
            is_one = len(set(own)) == 1
            if is_one and parts and parts[-1][2:] == [own[0], True]:
                parts[-1][1] += group
                continue
            for pattern, those in groupby(enumerate(own, begin), key=lambda one: one[1]):
                places = [place for place, _ in those]
                parts.append([places[0], places[-1] + 1, pattern, is_one])
        for begin, end, pattern, _ in parts:
            yield slice(begin, end), slice(begin // group, (end - 1) // group + 1), self.patterns[pattern]


@dataclass(frozen=True, slots=True)
class AttentionPolicy:
    """What prompts are read with: dense before the first band, and where a band says so.

    Attributes:
        bands: with ascending starts.
        name: how reports call it; it changes nothing.
        decode: which pages new tokens look at, one at a time or a few drafted ones; None for all.
    """

    bands: tuple[Band, ...] = ()
    name: str = field(default="", compare=False)
    decode: Pages | None = None

    def __post_init__(self) -> None:
        if any(later.start <= band.start for band, later in pairwise(self.bands)):
            raise ConfigurationError(
                f"bands start at {', '.join(str(band.start) for band in self.bands)} tokens", hint="let them ascend"
            )

    @property
    def is_dense(self) -> bool:
        """It changes nothing, neither of prompts nor of new tokens."""
        return self.reading is None and self.decode is None

    @property
    def reading(self) -> AttentionPolicy | None:
        """What it says of prompts alone; None where they are read densely."""
        is_dense = all(pattern is None for band in self.bands for pattern in band.patterns)
        return None if is_dense else replace(self, decode=None)

    @property
    def fingerprint(self) -> str:
        """The same for the same settings, in every process and version that means the same by them."""
        settings = self.to_dict()
        said = json.dumps([VERSION, settings["bands"], *([settings["decode"]] if self.decode else [])], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def named(self, chunk: int) -> str:
        """What a model that reads in such chunks is told apart by: its answers differ."""
        return f"{self.fingerprint}.{chunk}"

    def key(self, chunk: int) -> str:
        """What keys and values that were read with it in such chunks are kept under; "" for those of dense reading.

        `decode` has no part in it: what a token leaves that has looked at chosen pages is kept for nobody, so that all
        that is kept was read as the bands say.
        """
        return "" if self.reading is None else self.reading.named(chunk)

    def at(self, past: int) -> Band | None:
        """What holds for a chunk with so many tokens before it; None where it is dense in all heads."""
        holding = next((band for band in reversed(self.bands) if band.start <= past), None)
        return None if holding is None or all(pattern is None for pattern in holding.patterns) else holding

    def check(self, shape: KvShape, chunk: int, query_heads: int | None = None) -> None:
        """Before a model is loaded.

        Args:
            chunk: tokens of a step in which prompts are read.
            query_heads: of the model; without it a policy by query heads is taken for one of this model.

        Raises:
            ModelError: its heads have a size that the kernels do not know.
            ConfigurationError: the policy was made for another model, or the chunks do not fit.
        """
        if shape.dim not in HEAD_SIZES:
            raise ModelError(
                f"heads of {shape.dim} numbers can't be read sparsely, only of {', '.join(map(str, HEAD_SIZES))}",
                hint="leave its attention dense",
            )
        for band in self.bands:
            counts = {len(row) for row in band.heads}
            able = {shape.heads, query_heads} if query_heads else {count for count in counts if not count % shape.heads}
            if band.heads and (len(band.heads) != shape.layers or len(counts) > 1 or not counts <= able - {0}):
                raise ConfigurationError(
                    f"the policy names {len(band.heads)} layers of {sorted(counts)} heads, the model has "
                    f"{shape.layers} of {shape.heads} key heads",
                    hint="calibrate it for this model: turnout calibrate attention",
                )
            multiple = max([PAGE, *(pattern.chunks_of for pattern in band.patterns if pattern is not None)])
            if chunk % multiple:
                raise ConfigurationError(
                    f"chunks of {chunk} tokens do not fit the policy", hint=f"take a multiple of {multiple}"
                )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        bands = [
            {
                "start": band.start,
                "patterns": [None if pattern is None else told(pattern) for pattern in band.patterns],
                "heads": [list(row) for row in band.heads],
            }
            for band in self.bands
        ]
        decode = {} if self.decode is None else {"decode": asdict(self.decode)}
        return {"name": self.name, "bands": bands, **decode}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> AttentionPolicy:
        """What `to_dict` gave.

        Raises:
            ConfigurationError: it is something else.
        """
        try:
            bands = tuple(
                Band(
                    int(band["start"]),
                    tuple(None if pattern is None else pattern_from(pattern) for pattern in band["patterns"]),
                    tuple(tuple(int(at) for at in row) for row in band["heads"]),
                )
                for band in fields["bands"]
            )
            decode = fields.get("decode")
            return cls(bands, str(fields.get("name", "")), None if decode is None else Pages(**decode))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"this is no attention policy: {error!r}", hint="make one with turnout calibrate attention"
            ) from error


def fitting(policy: AttentionPolicy | None, model: ModelFolder, chunk: int) -> AttentionPolicy | None:
    """A policy that a model can be read with; None where it is dense.

    Raises:
        ModelError: the model's keys and values do not lie in pages, or its heads have another size.
        ConfigurationError: see `AttentionPolicy.check`.
    """
    if policy is None or policy.is_dense:
        return None
    if not are_pages_for(model):
        raise ModelError(
            f"{model.path.name} can't be read sparsely: its keys and values do not lie in pages",
            hint=f"leave its attention dense, or use a model of the types {', '.join(sorted(MODEL_TYPES))}",
        )
    heads = int(model.config["num_attention_heads"])
    policy.check(KvShape(model.layers, model.kv_heads, model.head_dim), chunk, heads)
    return policy


def grid_of(policy: AttentionPolicy | None, chunk: int) -> int:
    """In multiples of how many tokens the beginnings of prompts that are read in such chunks are kept: what a sparse
    chunk has chosen depends on all of its tokens, so only whole ones are for others."""
    return PAGE if policy is None or policy.reading is None else chunk


def key_of(policy: AttentionPolicy | None, chunk: int) -> str:
    """`AttentionPolicy.key`; "" for dense."""
    return "" if policy is None else policy.key(chunk)


def everywhere(pattern: Pattern | None, name: str = "", start: int = 0) -> AttentionPolicy:
    """One pattern for all heads, of chunks with `start` or more tokens before them."""
    return AttentionPolicy((Band(start, (pattern,)),), name)


def split(streaming: Sequence[Sequence[bool]], span: Span, name: str = "", start: int = 0) -> AttentionPolicy:
    """Heads that stream and heads that look at everything (DuoAttention, arXiv 2410.10819).

    Args:
        streaming: [layers][key heads], whether it streams.
    """
    heads = tuple(tuple(int(flag) for flag in row) for row in streaming)
    return AttentionPolicy((Band(start, (None, Pattern(span)), heads),), name)

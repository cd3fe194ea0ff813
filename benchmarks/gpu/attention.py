"""Dense and sparse attention on a GPU, of one layer of the 8B class (32 query and 8 key heads of 128): first that each
kernel computes what its plain form does, then how fast, beside torch SDPA in the same run.

Keys and queries are drawn, with some columns and the nearest tokens standing out: constant or plain random ones would
make sparse reading meaningless. Rows carry medians and spreads of `REPEATS` runs with the caches written over between.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import rivals
import torch

from turnout.engines.paged import sparse
from turnout.engines.paged.chosen import bounds_of
from turnout.engines.paged.patterns import Antidiagonal, Lines, Mass, Observed, Pattern, Pooled, Span
from turnout.kernels.attn_decode import naive as decode_naive
from turnout.kernels.attn_decode.api import attn_decode
from turnout.kernels.attn_prefill.api import attn_prefill
from turnout.kernels.block_scores.api import block_reduce, block_scores, pooled_scores
from turnout.kernels.page_scores import naive as scores_naive
from turnout.kernels.page_scores.api import page_scores, select_pages
from turnout.kernels.select_blocks.api import select_blocks
from turnout.kernels.shared import masks
from turnout.kernels.shared.index import BlockIndex, from_mask
from turnout.kernels.vs_probe import naive as probe_naive
from turnout.kernels.vs_probe.api import vs_probe

SEED, REPEATS, PAGE = 1, 5, 64
DENSITIES = (0.03, 0.05, 0.1, 0.2, 0.3)
SELECTED = 4096
NEWEST = (1, 4, 8, 16)
CHUNK = 4096
BLOCKS = ((128, 64), (128, 128), (64, 64))
"""Queries of a block and keys of a tile that dense attention is tried with."""
PARTS = (16, 32, 64, 128)
"""Programs that share a sequence's keys in decoding."""


@dataclass(frozen=True)
class Sizes:
    """What is run where; `TINY` is for trying this file itself out on a CPU."""

    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    heads: int = 32
    kv_heads: int = 8
    dim: int = 128
    lengths: tuple[int, ...] = (8192, 32768, 131072)
    chunk: int = CHUNK
    selected: int = SELECTED
    repeats: int = REPEATS
    error: float = 2e-2


TINY = Sizes("cpu", torch.float32, 4, 2, 32, (512, 1024), 256, 128, 1, 1e-4)
Work = tuple[str, Callable[[], dict[str, Any]]]


def works(sizes: Sizes) -> Iterator[Work]:
    """Named pieces of work in order: the machine, correctness, dense baselines, sparse prefill, estimators,
    decoding."""
    yield "machine", lambda: rivals.machine(sizes.device, lambda work: timed(work, sizes))
    for name, pattern in PATTERNS.items():
        yield f"check {name}", lambda pattern=pattern: _check_pattern(sizes, pattern)
    yield "check dense", lambda: _check_dense(sizes)
    yield "check lists", lambda: _check_lists(sizes)
    yield "check flex", lambda: _check_flex(sizes)
    yield "check pages", lambda: _check_pages(sizes)
    yield "check probe", lambda: _check_probe(sizes)
    for newest in NEWEST:
        yield f"check decode {newest}", lambda newest=newest: _check_decode(sizes, newest)
    for length in sizes.lengths:
        case = Case(sizes, length)
        for backend in rivals.BACKENDS if sizes.device == "cuda" else ():
            yield f"{backend} {length}", lambda case=case, backend=backend: case.causal(backend)
        yield f"sdpa {length}", case.sdpa
        yield f"dense {length}", case.dense
        for block in BLOCKS if sizes.device == "cuda" else ():
            name = "{}x{}".format(*block)
            yield f"dense by {name} {length}", lambda case=case, block=block: case.dense_by(block)
        for density in DENSITIES:
            for share in ("head", "group"):
                yield (
                    f"lists {density:g} by {share} {length}",
                    lambda case=case, density=density, share=share: case.lists(density, share),
                )
            yield f"flex {density:g} {length}", lambda case=case, density=density: case.flex(density)
        yield f"scores 16 {length}", lambda case=case: case.scores(16)
        yield f"scores 8 {length}", lambda case=case: case.scores(8)
        yield f"pooled {length}", case.pooled
        yield f"probe {length}", case.probe
        for name, pattern in PATTERNS.items():
            yield f"{name} {length}", lambda case=case, pattern=pattern: case.pattern(pattern)
        for newest in NEWEST:
            yield f"decode {newest} {length}", lambda case=case, newest=newest: case.decode(newest, None)
            yield (
                f"decode {newest} of {sizes.selected} {length}",
                lambda case=case, newest=newest: case.decode(newest, sizes.selected),
            )
        yield f"choose pages {length}", case.choose_pages


PATTERNS = {
    "xattention 0.9/16": Pattern(Mass(0.9), Antidiagonal(16)),
    "xattention 0.9/16 by group": Pattern(Mass(0.9), Antidiagonal(16), "group"),
    "xattention 0.9/8": Pattern(Mass(0.9), Antidiagonal(8)),
    "pooled 0.9": Pattern(Mass(0.9), Pooled()),
    "lines 100+800": Pattern(Lines(100, 800), Observed()),
    "lines 1000+6096": Pattern(Lines(1000, 6096), Observed()),
    "span 128+1024": Pattern(Span(128, 1024)),
}


class Case:
    """The last chunk of a prompt of some length: what a prefill step computes of one layer."""

    def __init__(self, sizes: Sizes, length: int) -> None:
        self._sizes, self._length = sizes, length
        self._past = length - sizes.chunk

    @cached_property
    def _rows(self) -> sparse.Rows:
        query, key, value = drawn(self._sizes, self._length)
        return sparse.Rows(query[self._past :], key, value, self._past, self._sizes.dim**-0.5)

    def sdpa(self) -> dict[str, Any]:
        """Torch's own attention; the mask of a chunk is its lower right triangle, so the fast backends get the chunk's
        past and the chunk itself apart, as the engine does."""
        rows = self._rows
        q, k, v = (tensor.transpose(0, 1)[None] for tensor in rows[:3])
        attend = torch.nn.functional.scaled_dot_product_attention

        def work() -> None:
            if rows.past:
                attend(q, k[:, :, : rows.past], v[:, :, : rows.past], scale=rows.scale, enable_gqa=True)
            attend(q, k[:, :, rows.past :], v[:, :, rows.past :], is_causal=True, scale=rows.scale, enable_gqa=True)

        return self._rated(work, 1.0)

    def dense(self) -> dict[str, Any]:
        rows = self._rows
        return self._rated(
            lambda: attn_prefill(rows.query, rows.key, rows.value, scale=rows.scale, q_start=rows.past), 1.0
        )

    def dense_by(self, block: tuple[int, int]) -> dict[str, Any]:
        """Without a list, by other tiles than the usual ones."""
        from turnout.kernels.attn_prefill import triton

        rows = self._rows
        options = {"scale": rows.scale, "q_start": rows.past, "kv_len": len(rows.key), "block": block}
        return self._rated(lambda: triton.attn_prefill(rows.query, rows.key, rows.value, **options), 1.0)

    def causal(self, backend: str) -> dict[str, Any]:
        """The whole prompt, causal, by one of torch's backends."""
        query, key, value = drawn(self._sizes, self._length)
        taken = self._timed(rivals.causal(query, key, value, backend))
        products = 2 * self._sizes.dim * self._sizes.heads * self._length * (self._length + 1)
        return {"time": taken, "flop_per_s": products / taken["median_s"]}

    def flex(self, density: float) -> dict[str, Any]:
        """FlexAttention over the same random tiles as `lists`, each head its own."""
        rows = self._rows
        index = random_lists(self._sizes.heads, density, rows)
        return self._rated(rivals.flex(rows, index), shown(index, rows)) | {"asked_density": density}

    def lists(self, density: float, share: str) -> dict[str, Any]:
        """Random tiles, each head its own or the heads of a group the same."""
        rows, sizes = self._rows, self._sizes
        heads = sizes.heads if share == "head" else sizes.kv_heads
        index = random_lists(heads, density, rows)
        found = self._rated(
            lambda: attn_prefill(rows.query, rows.key, rows.value, index, scale=rows.scale, q_start=rows.past),
            shown(index, rows),
        )
        return found | {"asked_density": density}

    def scores(self, stride: int) -> dict[str, Any]:
        """The estimator, and choosing by it."""
        rows = self._rows

        def estimate() -> torch.Tensor:
            part = block_scores(rows.query, rows.key, scale=rows.scale, stride=stride, q_start=rows.past)
            return block_reduce(part, 128 // stride)

        scores = estimate()
        chosen = self._timed(lambda: select_blocks(scores, "mass", tau=0.9, queries=len(rows.query), q_start=rows.past))
        return self._rated(estimate, 1 / (2 * stride)) | {"select": chosen}

    def pooled(self) -> dict[str, Any]:
        rows = self._rows
        return {"time": self._timed(lambda: pooled_scores(rows.query, rows.key, scale=rows.scale, q_start=rows.past))}

    def probe(self) -> dict[str, Any]:
        rows = self._rows
        at = torch.arange(len(rows.query) - 64, len(rows.query), device=rows.query.device)
        query, places = rows.query[at], (at + rows.past).int()
        return {"time": self._timed(lambda: vs_probe(query, places, rows.key, scale=rows.scale))}

    def pattern(self, pattern: Pattern) -> dict[str, Any]:
        """Choosing and reading, as the engine does; recall and density beside it."""
        rows = self._rows
        choice = sparse.choose(pattern, rows)
        _, dense = attn_prefill(rows.query, rows.key, rows.value, scale=rows.scale, q_start=rows.past)
        _, kept = choice.read(rows.query, rows)
        _, seen = choice.read(torch.zeros_like(rows.query), rows)
        assert dense is not None  # noqa: S101
        everything = torch.arange(rows.past + 1, len(rows.key) + 1, device=seen.device).double()
        density = float(seen.double().exp().sum(1).mean() / everything.sum())
        found = self._rated(lambda: sparse.choose(pattern, rows).read(rows.query, rows), density)
        return found | {
            "recall": float((kept.double() - dense.double()).exp().mean()),
            "read": self._timed(lambda: choice.read(rows.query, rows)),
        }

    def decode(self, newest: int, selected: int | None) -> dict[str, Any]:
        """A new token, or several drafted ones, over all pages or some; SDPA over all keys beside it."""
        sizes, rows = self._sizes, self._rows
        query = rows.query[:newest]
        pages = paged(rows)
        ids = None if selected is None else some_pages(sizes, self._length, selected)
        keys = self._length if selected is None else min(selected, self._length)

        def work(parts: int) -> Callable[[], Any]:
            return lambda: attn_decode(query[None], *pages, scale=rows.scale, page=PAGE, page_ids=ids, parts=parts)

        by_parts = {parts: self._timed(work(parts)) for parts in (PARTS if sizes.device == "cuda" else PARTS[:1])}
        best = min(by_parts, key=lambda parts: by_parts[parts]["median_s"])
        ours = by_parts[best]
        q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, rows.key, rows.value))
        seen = torch.ones(newest, self._length, dtype=torch.bool, device=q.device).tril(self._length - newest)
        mask = None if newest == 1 else seen
        attend = torch.nn.functional.scaled_dot_product_attention
        theirs = self._timed(lambda: attend(q, k, v, attn_mask=mask, scale=rows.scale, enable_gqa=True))
        read = 2 * keys * sizes.kv_heads * sizes.dim * rows.key.element_size()
        found = {"time": ours, "sdpa": theirs, "bytes_per_s": read / ours["median_s"], "parts": best}
        found["by_parts"] = {str(parts): taken["median_s"] for parts, taken in by_parts.items()}
        if sizes.device == "cuda":
            found["replayed"] = self._timed(replayed(work(best)))
        return found

    def choose_pages(self) -> dict[str, Any]:
        """Bounds of all pages, scores and the choice of a new token."""
        sizes, rows = self._sizes, self._rows
        keys, _, table, lengths = paged(rows)
        bounds = bounds_of(keys, table[0])
        own = torch.arange(len(bounds), dtype=torch.int32, device=keys.device)[None]
        budget = max(min(sizes.selected // PAGE, len(bounds)), 4)

        def choose() -> torch.Tensor:
            scores = page_scores(rows.query[-1:], bounds, own, lengths)
            return select_pages(scores, lengths, page=PAGE, budget=budget)

        return {"time": self._timed(choose), "bounds": self._timed(lambda: bounds_of(keys, table[0]))}

    def _timed(self, work: Callable[[], Any]) -> dict[str, float]:
        return timed(work, self._sizes)

    def _rated(self, work: Callable[[], Any], share: float) -> dict[str, Any]:
        """Args: share: of the products of dense attention that are computed."""
        rows, taken = self._rows, self._timed(work)
        pairs = sum(range(rows.past + 1, len(rows.key) + 1))
        products = 4 * self._sizes.dim * self._sizes.heads * pairs * share
        return {"time": taken, "density": share, "flop_per_s": products / taken["median_s"]}


def drawn(sizes: Sizes, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value [tokens, heads, dim] whose attention is peaked: on 16 columns of each key head, and on near
    tokens by a direction that turns slowly."""
    random = torch.Generator(sizes.device).manual_seed(SEED)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, device=sizes.device)

    query, key = normal(length, sizes.heads, sizes.dim), normal(length, sizes.kv_heads, sizes.dim)
    value = normal(length, sizes.kv_heads, sizes.dim)
    strong = 3.0
    columns = torch.randint(0, max(length // 2, 1), (16,), generator=random, device=sizes.device)
    key[columns, :, 0] += 4 * strong
    query[:, :, 0] += strong
    turn = torch.arange(length, device=sizes.device)[:, None] * (6.28 / 2048)
    for tensor in (query, key):
        tensor[:, :, 1] += 2 * strong * turn.cos()
        tensor[:, :, 2] += 2 * strong * turn.sin()
    return query.to(sizes.dtype), key.to(sizes.dtype), value.to(sizes.dtype)


def random_lists(heads: int, density: float, rows: sparse.Rows) -> BlockIndex:
    queries, keys, device = len(rows.query), len(rows.key), rows.query.device
    random = torch.Generator(device).manual_seed(SEED)
    chosen = torch.rand(heads, -(-queries // 128), -(-keys // 128), generator=random, device=device) < density
    chosen[:, :, 0] = True  # no row sees nothing
    return from_mask(chosen, 128, 128, queries=queries, q_start=rows.past, kv_len=keys)


def shown(index: BlockIndex, rows: sparse.Rows) -> float:
    """Share of the tiles of dense attention that an index names."""
    everything = torch.ones(1, index.blocks, -(-len(rows.key) // 128), dtype=torch.bool, device=rows.query.device)
    all_of_them = from_mask(everything, 128, 128, queries=len(rows.query), q_start=rows.past, kv_len=len(rows.key))
    return len(index.indices) / (len(all_of_them.indices) * index.heads)


def paged(rows: sparse.Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values in pages of no order, the table and the length."""
    length, count, device = len(rows.key), -(-len(rows.key) // PAGE), rows.key.device
    table = torch.randperm(count, generator=torch.Generator().manual_seed(SEED)).to(device)
    slots = (table[:, None] * PAGE + torch.arange(PAGE, device=device)).flatten()[:length]
    keys, values = (tensor.new_zeros(count * PAGE, *tensor.shape[1:]) for tensor in (rows.key, rows.value))
    keys[slots], values[slots] = rows.key, rows.value
    return keys, values, table.int()[None], torch.tensor([length], dtype=torch.int32, device=device)


def some_pages(sizes: Sizes, length: int, selected: int) -> torch.Tensor:
    """[1, key heads, pages]: the last pages, which hold the newest tokens, and random others, ascending."""
    count = -(-length // PAGE)
    wanted = min(selected // PAGE, count)
    random = torch.Generator().manual_seed(SEED)
    rows = []
    for _ in range(sizes.kv_heads):
        others = torch.randperm(count - 2, generator=random)[: wanted - 2].sort().values
        rows.append(torch.cat([others, torch.tensor([count - 2, count - 1])]))
    return torch.stack(rows)[None].int().to(sizes.device)


def timed(work: Callable[[], Any], sizes: Sizes) -> dict[str, float]:
    """Median and spread; the first run compiles."""
    work()
    dirty = torch.empty(64 << 20 if sizes.device == "cuda" else 1, dtype=torch.int32, device=sizes.device)
    seconds = []
    for _ in range(sizes.repeats):
        dirty.zero_()
        _wait(sizes)
        begin = time.perf_counter()
        work()
        _wait(sizes)
        seconds.append(time.perf_counter() - begin)
    return {"median_s": statistics.median(seconds), "least_s": min(seconds), "most_s": max(seconds)}


def replayed(work: Callable[[], Any]) -> Callable[[], Any]:
    """The same as a CUDA graph."""
    stream: Any = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _wait(sizes: Sizes) -> None:
    if sizes.device == "cuda":
        torch.cuda.synchronize()


def _small(sizes: Sizes) -> sparse.Rows:
    """A chunk short enough for masks to be written out."""
    query, key, value = drawn(sizes, 768)
    return sparse.Rows(query[512:], key, value, 512, sizes.dim**-0.5)


def _close(sizes: Sizes, found: torch.Tensor, wanted: torch.Tensor) -> dict[str, Any]:
    error = float((found.double() - wanted.double()).abs().max())
    assert error <= sizes.error, f"{error} is over {sizes.error}"  # noqa: S101
    return {"error": error, "limit": sizes.error}


def _check_dense(sizes: Sizes) -> dict[str, Any]:
    rows = _small(sizes)
    found, _ = attn_prefill(rows.query, rows.key, rows.value, scale=rows.scale, q_start=rows.past)
    return _close(sizes, found, _truth(rows, torch.ones(1, 1, 1, dtype=torch.bool, device=rows.key.device)))


def _check_lists(sizes: Sizes) -> dict[str, Any]:
    rows = _small(sizes)
    index = random_lists(sizes.heads, 0.3, rows)
    found, _ = attn_prefill(rows.query, rows.key, rows.value, index, scale=rows.scale, q_start=rows.past)
    return _close(sizes, found, _truth(rows, masks.listed(index, sizes.heads, len(rows.query), len(rows.key))))


def _check_flex(sizes: Sizes) -> dict[str, Any]:
    """The rival computes the same, so that its time is that of the same work."""
    rows = _small(sizes)
    worst: dict[str, Any] = {"error": 0.0}
    for heads in (sizes.heads, sizes.kv_heads):
        index = random_lists(heads, 0.3, rows)
        wanted = _truth(rows, masks.listed(index, sizes.heads, len(rows.query), len(rows.key)))
        found = rivals.flex(rows, index)()[0].transpose(0, 1)
        worst = max(worst, _close(sizes, found, wanted), key=lambda each: each["error"])
    return worst


def _check_pages(sizes: Sizes) -> dict[str, Any]:
    """Scores of pages against their plain form, and no key over its page's score."""
    rows = _small(sizes)
    keys, _, table, lengths = paged(rows)
    bounds = bounds_of(keys, table[0])
    own = torch.arange(len(bounds), dtype=torch.int32, device=keys.device)[None]
    query = rows.query[-1:]
    found = page_scores(query, bounds, own, lengths)
    wanted = scores_naive.page_scores(query.double(), bounds, own, lengths)
    exact = torch.einsum(
        "hd,khd->hk", query[0].double(), rows.key.double().repeat_interleave(sizes.heads // sizes.kv_heads, 1)
    )
    highest = exact.view(sizes.kv_heads, -1, len(rows.key) // PAGE, PAGE).amax((1, 3))
    assert bool((highest <= wanted[0] + 1e-6).all()), "a key is over its page's score"  # noqa: S101
    size = float(wanted.abs().max())
    return _close(sizes, found / size, wanted / size)


def _check_pattern(sizes: Sizes, pattern: Pattern) -> dict[str, Any]:
    """The choice is taken as the api makes it, and its mask is written out by asking for each key: values that are 1 at
    one key alone give its weight."""
    rows = _small(sizes)
    choice = sparse.choose(pattern, rows)
    found, _ = choice.read(rows.query, rows)
    seen = []
    for begin in range(0, len(rows.key), sizes.dim):
        ones = torch.zeros_like(rows.value)
        width = min(sizes.dim, len(rows.key) - begin)
        ones[begin : begin + width, :, :width] = torch.eye(width, dtype=ones.dtype, device=ones.device)[:, None]
        weights, _ = choice.read(torch.zeros_like(rows.query), rows._replace(value=ones))
        seen.append(weights[..., :width] > 0)
    return _close(sizes, found.transpose(0, 1), _truth(rows, torch.cat(seen, -1)))


def _truth(rows: sparse.Rows, seen: torch.Tensor) -> torch.Tensor:
    """[tokens, query heads, dim] in float64, of causal keys that are seen [heads, rows, keys]."""
    at = torch.arange(rows.past, len(rows.key), device=rows.key.device)
    causal = torch.arange(len(rows.key), device=rows.key.device) <= at[:, None]
    mask = (causal & seen).expand(rows.query.shape[1], -1, -1)
    return masks.attention(rows.query.double(), rows.key.double(), rows.value.double(), mask, rows.scale)[0]


def _check_probe(sizes: Sizes) -> dict[str, Any]:
    rows = _small(sizes)
    places = torch.arange(len(rows.key) - 64, len(rows.key), dtype=torch.int32, device=rows.key.device)
    found = vs_probe(rows.query[-64:], places, rows.key, scale=rows.scale)
    wanted = probe_naive.vs_probe(rows.query[-64:].double(), places, rows.key.double(), scale=rows.scale)
    # Shares of 64 rows.
    return _close(sizes, torch.cat(found) / 64, torch.cat(wanted) / 64)


def _check_decode(sizes: Sizes, newest: int) -> dict[str, Any]:
    rows = _small(sizes)
    pages, query = paged(rows), rows.query[None, :newest]
    worst: dict[str, Any] = {"error": 0.0}
    for ids in (None, some_pages(sizes, len(rows.key), 256)):
        options = {"scale": rows.scale, "page": PAGE, "page_ids": ids}
        found, _ = attn_decode(query, *pages, **options)
        keys, values, *rest = pages
        wanted, _ = decode_naive.attn_decode(query.double(), keys.double(), values.double(), *rest, **options)
        worst = max(worst, _close(sizes, found, wanted), key=lambda each: each["error"])
    return worst

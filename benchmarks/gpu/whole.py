"""Whole prompts and new tokens through some layers of the 8B class, dense and by attention policies of fixed budgets.

The weights are random, and so the attention is flat: what is timed does not depend on that, as budgets are fixed; what
a policy would keep of a real model's attention can't be told here. Times are of whole steps, with all other layers of
the network; attention alone is in attention.py.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from turnout.engines.paged.pages import PAGE, KvShape
from turnout.engines.paged.patterns import Antidiagonal, Lines, Observed, Pages, Pattern, Span, Top
from turnout.engines.paged.policy import AttentionPolicy, everywhere
from turnout.engines.paged.session import Session

SEED = 1
VOCABULARY = 32000
SPARE_BYTES = 6 << 30
"""Activations of a chunk, and what choosing takes."""


@dataclass(frozen=True)
class Whole:
    """What is run; `TINY` is for trying this file itself out on a CPU."""

    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    layers: int = 2
    heads: int = 32
    kv_heads: int = 8
    dim: int = 128
    intermediate: int = 14336
    lengths: tuple[int, ...] = (8192, 32768, 131072, 524288, 1048576)
    chunk: int = 4096
    blocks: int = 64
    pages: int = 64
    new: int = 32
    repeats: int = 3

    @property
    def shape(self) -> KvShape:
        return KvShape(self.layers, self.kv_heads, self.dim)


TINY = Whole("cpu", torch.float32, 2, 4, 2, 16, 96, (512, 1024), 256, 3, 4, 4, 1)


def policies(whole: Whole) -> dict[str, AttentionPolicy | None]:
    """Name -> what prompts are read with."""
    few = Top(whole.blocks)
    return {
        "dense": None,
        "blocks": everywhere(Pattern(few, Antidiagonal(16))),
        "blocks by group": everywhere(Pattern(few, Antidiagonal(16), "group")),
        "lines": everywhere(Pattern(Lines(1000, 6096), Observed())),
        "span": everywhere(Pattern(Span(128, 1024))),
    }


def works(whole: Whole) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Named pieces of work: reading by each policy, then writing, length after length."""
    for length in whole.lengths:
        for name, policy in policies(whole).items():
            yield f"read whole {name} {length}", lambda length=length, policy=policy: read(whole, length, policy)
        for name, pages in (("dense", None), ("chosen", Pages(whole.pages, 4, start=0, dense_layers=0))):
            yield f"write whole {name} {length}", lambda length=length, pages=pages: write(whole, length, pages)


def read(whole: Whole, length: int, policy: AttentionPolicy | None) -> dict[str, Any]:
    """Seconds of a prompt of drawn tokens; the first turn compiles and is short."""
    session = opened(whole, length)
    if session is None:
        return {"skipped": "not so much memory is free"}
    seconds = []
    # From a certain length on, once is enough: other sources of noise are small beside it.
    turns = whole.repeats if length <= whole.lengths[len(whole.lengths) // 2] else 1
    for turn in range(turns + 1):
        sequence = session.sequence(str(turn), policy=policy)
        tokens = ids(length if turn else min(length, 2 * whole.chunk), turn)
        seconds.append(timed(whole, lambda sequence=sequence, tokens=tokens: sequence.prefill(tokens)))
        sequence.close(keep=False)
    return {"median_s": statistics.median(seconds[1:]), "least_s": min(seconds[1:]), "layers": whole.layers}


def write(whole: Whole, length: int, pages: Pages | None) -> dict[str, Any]:
    """Seconds a new token after a prompt whose keys and values are drawn, which is as fast and as slow as one that was
    read."""
    session = opened(whole, length)
    if session is None:
        return {"skipped": "not so much memory is free"}
    policy = None if pages is None else AttentionPolicy(decode=pages)
    sequence = session.sequence(policy=policy)
    pool = session._residency.pool
    sequence.reserve(length + 8 * whole.new)
    sequence.ids = ids(length, 1)
    for part in (*pool.keys, *pool.values):
        part.normal_()
    seconds = []
    for _ in range(whole.repeats + 1):  # the first one compiles
        seconds.append(timed(whole, lambda: [int(sequence.append([5])[0].argmax()) for _ in range(whole.new)]))
    sequence.close(keep=False)
    return {"token_s": statistics.median(seconds[1:]) / whole.new, "layers": whole.layers}


def opened(whole: Whole, length: int) -> Session | None:
    """Random layers with a pool for the prompt; None where the device has no room for it."""
    pool = (length + 16 * whole.new + 2 * PAGE) * whole.shape.page_bytes(whole.dtype.itemsize) // PAGE
    # A layer's keys and values repeated to all query heads, as torch's dense attention wants them.
    repeated = 2 * length * whole.heads * whole.dim * whole.dtype.itemsize
    if whole.device == "cuda":
        gc.collect()  # the layers and pages of the piece of work before
        torch.cuda.empty_cache()
        if pool + 2 * repeated + SPARE_BYTES > torch.cuda.mem_get_info()[0]:
            return None
    return Session(network(whole), whole.shape, pool, whole.device, "whole", chunk=whole.chunk)


def network(whole: Whole) -> Any:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=whole.heads * whole.dim,
        intermediate_size=whole.intermediate,
        num_hidden_layers=whole.layers,
        num_attention_heads=whole.heads,
        num_key_value_heads=whole.kv_heads,
        max_position_embeddings=2 * whole.lengths[-1],
        rope_theta=500_000.0,
    )
    torch.manual_seed(SEED)
    before = torch.get_default_dtype()
    torch.set_default_dtype(whole.dtype)
    try:
        with torch.device(whole.device):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def ids(count: int, seed: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def timed(whole: Whole, work: Callable[[], Any]) -> float:
    if whole.device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if whole.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin

"""The paged engine on a GPU: first that it computes what transformers computes, then how fast, beside transformers with
SDPA and beside the memory's own floor.

The weights are random, of the 8B class (32 layers, 32 query and 8 key heads of 128, 16 GB in bfloat16): speed does not
depend on them. Tokens are drawn, never zeros, which would need less power and look faster.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from turnout.engines.paged.pages import PAGE, KvShape
from turnout.engines.paged.sequence import step
from turnout.engines.paged.session import Session
from turnout.kernels.attn_decode import naive
from turnout.kernels.attn_decode.api import attn_decode

SHAPE = KvShape(32, 8, 128)
LENGTHS = (8192, 32768, 131072)
REPEATS = 3
NEW = 64
SEED = 1


def correctness() -> Iterator[dict[str, Any]]:
    """Rows with a name, an error and its limit; raises AssertionError at the first that is over."""
    for lengths in ([1], [100, 8192], [131072], [7, 64, 65, 3000]):
        yield _checked(f"attn_decode bf16 {lengths}", _kernel_error(lengths), 2e-2)
    for window in (None, 100):
        plain, paged = _small(window)
        for name in ("captured", "replayed"):
            different = _different(plain, paged, [_ids(700, 0)], name)
            yield _checked(f"greedy tokens unlike transformers, fp32, window {window}, {name}", different, 0.0)
        # Five rows run in the graph for eight; three of them idle.
        different = _different(plain, paged, [_ids(60 + 90 * seed, seed) for seed in range(5)], "together")
        yield _checked(f"greedy tokens unlike transformers, fp32, window {window}, five together", different, 0.0)


def speed(report: Callable[[dict[str, Any]], None]) -> None:
    """Reports a row for each length: reading and writing, of both sides, and the floor of writing."""
    network = _random_8b()
    bandwidth = _copy_rate()
    weights = sum(weight.nbytes for weight in network.parameters()) - network.model.embed_tokens.weight.nbytes
    for length in LENGTHS:
        network.set_attn_implementation("sdpa")
        plain = _transformers(network, length)
        pool = (length + 16 * PAGE) * SHAPE.page_bytes(2) // PAGE
        ours = _engine(network, length, pool)
        kv = length * SHAPE.page_bytes(2) // PAGE
        floor = (weights + kv) / bandwidth
        report(
            {
                "tokens": length,
                "read_tokens_per_s": {"turnout": ours[0], "transformers": plain[0], "ratio": ours[0] / plain[0]},
                "token_s": {"turnout": ours[1], "transformers": plain[1], "ratio": plain[1] / ours[1]},
                "floor_s": floor,
                "share_of_floor": floor / ours[1],
                "copy_bytes_per_s": bandwidth,
            }
        )
        torch.cuda.empty_cache()


def _checked(name: str, error: float, limit: float) -> dict[str, Any]:
    assert error <= limit, f"{name}: {error} is over {limit}"  # noqa: S101
    return {"check": name, "error": error, "limit": limit}


def _kernel_error(lengths: list[int]) -> float:
    """Largest difference of the kernel's output to plain torch in float32."""
    torch.manual_seed(SEED)
    counts = [-(-length // PAGE) for length in lengths]
    pages = torch.randperm(sum(counts) + 1).split([*counts, 1])
    tables = torch.zeros(len(lengths), max(counts), dtype=torch.int32)
    for row, own in zip(tables, pages, strict=False):
        row[: len(own)] = own
    slots = (sum(counts) + 1) * PAGE
    keys, values = torch.randn(2, slots, SHAPE.heads, SHAPE.dim, device="cuda", dtype=torch.bfloat16)
    query = torch.randn(len(lengths), 1, 32, SHAPE.dim, device="cuda", dtype=torch.bfloat16)
    rest = (tables.cuda(), torch.tensor(lengths, dtype=torch.int32, device="cuda"))
    options = {"scale": SHAPE.dim**-0.5, "page": PAGE}
    found, _ = attn_decode(query, keys, values, *rest, **options, parts=64)
    wanted, _ = naive.attn_decode(query.float(), keys, values, *rest, **options)
    return float((found.float() - wanted).abs().max())


def _different(plain: Any, paged: Session, prompts: list[list[int]], namespace: str) -> float:
    """Greedy tokens, of 64 for each prompt, that are not those of transformers."""
    begun, found = [paged.sequence(namespace) for _ in prompts], []
    logits = [sequence.prefill(prompt, more=64) for sequence, prompt in zip(begun, prompts, strict=True)]
    for _ in range(64):
        found.append([int(row.argmax()) for row in logits])
        logits = list(step(paged._runner, [(one, [[id_]], (-1,)) for one, id_ in zip(begun, found[-1], strict=True)]))
    for sequence in begun:
        sequence.close(keep=False)
    different = 0
    for place, prompt in enumerate(prompts):
        with torch.inference_mode():
            ids = plain.generate(torch.tensor([prompt], device="cuda"), max_new_tokens=64, do_sample=False)
        wanted = ids[0, len(prompt) :].tolist()
        different += sum(row[place] != token for row, token in zip(found, wanted, strict=True))
    return float(different)


def _small(window: int | None) -> tuple[Any, Session]:
    torch.manual_seed(SEED)
    sizes = {"vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4,
             "num_attention_heads": 8, "num_key_value_heads": 2, "initializer_range": 0.2}  # fmt: skip
    config = MistralConfig(**sizes, sliding_window=window, pad_token_id=0, eos_token_id=None)
    plain = MistralForCausalLM(config).cuda().eval()
    # Of its own: the implementation of attention is kept there.
    same = MistralForCausalLM(copy.deepcopy(config)).cuda().eval()
    same.load_state_dict(plain.state_dict())
    return plain, Session(same, KvShape(4, 2, 64), 1 << 28, "cuda", "small")


def _random_8b() -> Any:
    config = LlamaConfig(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=SHAPE.layers,
                         num_attention_heads=32, num_key_value_heads=SHAPE.heads, max_position_embeddings=140_000,
                         rope_theta=500_000.0)  # fmt: skip
    torch.manual_seed(SEED)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def _copy_rate() -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.randn(1 << 30, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_seconds(lambda: target.copy_(source)) for _ in range(5))


def _seconds(work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def _ids(count: int, seed: int) -> list[int]:
    return torch.randint(3, 1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def _engine(network: Any, length: int, pool: int) -> tuple[float, float]:
    """(tokens read a second, seconds a token written), medians."""
    session = Session(network, SHAPE, pool, "cuda", "speed", chunk=4096)
    read, write = [], []
    for turn in range(REPEATS + 1):  # the first one compiles and captures
        sequence = session.sequence(str(turn))
        ids = _ids(length, turn)
        seconds = _seconds(lambda sequence=sequence, ids=ids: sequence.prefill(ids, more=NEW))
        read.append(length / seconds)
        sequence.append([5])
        write.append(
            _seconds(lambda sequence=sequence: [int(sequence.append([5])[0].argmax()) for _ in range(NEW - 2)])
        )
        sequence.close()
    return statistics.median(read[1:]), statistics.median(write[1:]) / (NEW - 2)


def _transformers(network: Any, length: int) -> tuple[float, float]:
    """The same of transformers: its dynamic cache, SDPA, a prompt in chunks like ours."""
    read, write = [], []
    for turn in range(REPEATS + 1):
        ids = torch.tensor([_ids(length, turn)], device="cuda")
        cache = DynamicCache()
        with torch.inference_mode():
            read.append(
                length
                / _seconds(
                    lambda ids=ids, cache=cache: [
                        network(part, past_key_values=cache, logits_to_keep=1) for part in ids.split(4096, 1)
                    ]
                )
            )
            one = ids[:, :1]
            network(one, past_key_values=cache)
            write.append(
                _seconds(
                    lambda one=one, cache=cache: [
                        int(network(one, past_key_values=cache).logits[0, -1].argmax()) for _ in range(NEW - 2)
                    ]
                )
            )
        del cache
    return statistics.median(read[1:]), statistics.median(write[1:]) / (NEW - 2)

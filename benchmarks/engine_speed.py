"""The local engine beside transformers and, where its Python binding is installed, llama.cpp, in one run.

    python benchmarks/engine_speed.py [MODEL_FOLDER] [--gguf FILE] [--only PART]...

Reading (prompt tokens a second), writing (new tokens a second after prompts of several lengths), eight answers at once
beside one after the other, and a document that is asked a second time: from pages, and from disk by another engine.
Every side has the same weights: ours and transformers' in the precision that is fast here, and ours also writing in
int8, which is the default on a CPU; llama.cpp has its own file of them (--gguf). transformers writes with
its dynamic and its static cache; the better one counts. The order of the sides turns, and every figure is the median of
REPEATS.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import results_file
import torch
from transformers import DynamicCache, StaticCache

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines import loading
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.paged.sequence import KvSequence
from turnout.engines.paged.session import Session
from turnout.engines.writing import Writing
from turnout.training.recipe import draws
from turnout.types import GenerationParams

REPEATS = 3
NEW = 32
SEED = 1
READ = (1024, 2048, 4096, 8000)
WRITE = (64, 1024, 4096)


PARTS = ("read", "write", "eight_answers", "asked_again")


def main(folder: Path, gguf: Path | None, parts: Sequence[str]) -> None:
    bench = Bench(folder, gguf)
    figures: dict[str, Any] = {
        "model": folder.name,
        "dtype": bench.engine.dtype,
        "int8_by_default": bench.engine.int8,
        "threads": torch.get_num_threads(),
        "repeats": REPEATS,
    }
    if "read" in parts:
        figures["read"] = {f"{tokens:,} tokens": sides(bench.readers(tokens)) for tokens in READ}
    if "write" in parts:
        figures["write"] = {f"after {tokens:,} tokens": sides(bench.writers(tokens)) for tokens in WRITE}
    if "eight_answers" in parts:
        figures["eight_answers"] = {
            f"{name}, {weights}": sides({way: partial(bench.eight_rate, engine, tokens, way) for way in WAYS})
            for weights, engine in bench.engines.items()
            for name, tokens in (("prompts of 256", 256), ("one document of 4,096", 4096))
        }
    bench.close()
    if "asked_again" in parts:
        figures["asked_again"] = bench.again(7000)
    precision = {"bfloat16": "", "float32": "_fp32"}[bench.engine.dtype]
    named = "" if tuple(parts) == PARTS else "_" + "_".join(parts)
    results_file.write(f"engine_speed{precision}{named}", SEED, figures)


WAYS = ("at once", "one by one")


def sides(rates: dict[str, Callable[[], float]]) -> dict[str, Any]:
    """Each side's rates, taken in turn, and the ratio of the first one's median to each other's."""
    found: dict[str, list[float]] = {name: [] for name in rates}
    for turn in range(REPEATS):
        for name in sorted(rates, reverse=bool(turn % 2)):
            found[name].append(rates[name]())
    spread = {name: results_file.spread(values) for name, values in found.items()}
    first, *others = rates
    ratios = {name: statistics.median(found[first]) / statistics.median(found[name]) for name in others}
    print(*(f"{name} {values['median']:.1f}" for name, values in spread.items()), sep="  ", flush=True)
    return {**spread, "ratio_to": ratios}


class Bench:
    """One model on every side, and made-up tokens."""

    def __init__(self, folder: Path, gguf: Path | None) -> None:
        self.folder, self.gguf = folder, gguf
        self.engine = LocalEngine(folder)
        self.engines = {"int8" if self.engine.int8 else self.engine.dtype: self.engine}
        if self.engine.int8:
            self.engines[self.engine.dtype] = LocalEngine(folder, int8=False)
        for engine in self.engines.values():
            engine.open()
        self.plain = loading.load(self.engine.folder, self.engine.device, self.engine.dtype)
        self._count = 0

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()

    def ids(self, tokens: int) -> list[int]:
        """Never the same ones twice: nothing of them is resident."""
        self._count += 1
        draw = draws(SEED, self._count)
        return [draw.randrange(self.engine.vocabulary) for _ in range(tokens)]

    def readers(self, tokens: int) -> dict[str, Callable[[], float]]:
        """Int8 is for writing, so there is one of ours."""
        found = {"turnout": partial(self.read_rate, tokens), "transformers": partial(self.plain_read_rate, tokens)}
        return found | ({"llama.cpp": partial(self.llama_rate, tokens, write=False)} if self.gguf else {})

    def writers(self, tokens: int) -> dict[str, Callable[[], float]]:
        found = {
            f"turnout {weights}": partial(self.write_rate, engine, tokens) for weights, engine in self.engines.items()
        }
        for kind in ("dynamic", "static"):
            found[f"transformers {kind}"] = partial(self.plain_write_rate, tokens, kind)
        return found | ({"llama.cpp": partial(self.llama_rate, tokens, write=True)} if self.gguf else {})

    def read_rate(self, tokens: int) -> float:
        ids = self.ids(tokens)
        sequence = self.engine.sequence()
        started = time.perf_counter()
        float(sequence.prefill(ids)[0])
        seconds = time.perf_counter() - started
        sequence.close(keep=False)
        return tokens / seconds

    def plain_read_rate(self, tokens: int) -> float:
        ids = torch.tensor([self.ids(tokens)], device=self.engine.device)
        with torch.inference_mode():
            started = time.perf_counter()
            float(self.plain(ids, past_key_values=DynamicCache(), logits_to_keep=1).logits[0, -1, 0])
            return tokens / (time.perf_counter() - started)

    def write_rate(self, engine: LocalEngine, tokens: int) -> float:
        sequence = engine.sequence()
        logits = sequence.prefill(self.ids(tokens), more=NEW)
        started = time.perf_counter()
        for _ in range(NEW):
            logits = sequence.append([int(logits.argmax())])[0]
        seconds = time.perf_counter() - started
        sequence.close(keep=False)
        return NEW / seconds

    def plain_write_rate(self, tokens: int, kind: str) -> float:
        """`generate` over a cache that holds the prompt; its first token needs no step."""
        ids = torch.tensor([self.ids(tokens)], device=self.engine.device)
        cache: Any = (
            DynamicCache() if kind == "dynamic" else StaticCache(self.plain.config, max_cache_len=tokens + NEW + 1)
        )
        options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "disable_compile": True}
        with torch.inference_mode():
            self.plain(ids[:, :-1], past_key_values=cache, logits_to_keep=1)
            started = time.perf_counter()
            self.plain.generate(ids, past_key_values=cache, max_new_tokens=NEW, min_new_tokens=NEW, **options)
            return NEW / (time.perf_counter() - started)

    def llama_rate(self, tokens: int, write: bool) -> float:
        """llama.cpp with as many threads as torch has."""
        from llama_cpp import Llama

        threads = torch.get_num_threads()
        model = Llama(str(self.gguf), n_ctx=tokens + NEW + 8, n_threads=threads, n_threads_batch=threads,
                      n_batch=512, logits_all=False, verbose=False)  # fmt: skip
        started = time.perf_counter()
        model.eval(self.ids(tokens))
        read_s = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(NEW if write else 0):
            model.eval([model.sample(temp=0.0)])
        write_s = time.perf_counter() - started
        model.close()
        return NEW / write_s if write else tokens / read_s

    def eight_rate(self, engine: LocalEngine, tokens: int, way: str) -> float:
        """New tokens a second of eight answers of 128 tokens, without reading their prompts. Long prompts are one
        document with eight questions."""
        session, stem = engine._session, self.ids(tokens)
        prompts = [[*stem, *self.ids(8)] if tokens > 1024 else self.ids(tokens) for _ in range(8)]
        params = GenerationParams(max_tokens=128)
        begun = []
        for prompt in prompts:
            sequence = session.sequence()
            begun.append((sequence, sequence.prefill(prompt, more=128), Writing(params, str, (), engine.device)))
        started = time.perf_counter()
        for group in [begun] if way == "at once" else [[one] for one in begun]:
            write_together(session, group)
        seconds = time.perf_counter() - started
        for sequence, _, _ in begun:
            sequence.close(keep=False)
        return 8 * 128 / seconds

    def again(self, tokens: int) -> dict[str, Any]:
        """Seconds to the first token of a document's first question, of another one, and of one in a new engine that
        finds it on disk; and what keeping it on disk takes, after the answer."""
        found: dict[str, list[float]] = {name: [] for name in ("cold_s", "save_s", "resident_s", "disk_s")}
        for _ in range(REPEATS):
            ids = self.ids(tokens)
            with tempfile.TemporaryDirectory() as disk:
                first, second = (LocalEngine(self.folder, disk=Path(disk)) for _ in range(2))
                for name, engine in (("cold_s", first), ("resident_s", first), ("disk_s", second)):
                    engine.open()
                    started = time.perf_counter()
                    sequence = engine.sequence()
                    float(sequence.prefill([*ids, *self.ids(12)])[0])
                    found[name].append(time.perf_counter() - started)
                    started = time.perf_counter()
                    sequence.close()
                    if name == "cold_s":
                        found["save_s"].append(time.perf_counter() - started)
        medians = {name: statistics.median(values) for name, values in found.items()}
        shares = {f"{name}_of_cold": medians[f"{name}_s"] / medians["cold_s"] for name in ("resident", "disk", "save")}
        return {"tokens": tokens, **{name: results_file.spread(values) for name, values in found.items()}, **shares}


def write_together(session: Session, answers: Sequence[tuple[KvSequence, torch.Tensor, Writing]]) -> None:
    """Writes answers in steps of one token each: (sequence that has read its prompt, logits after it, empty answer)."""
    going = [(sequence, writing, writing.next(foretold)[0]) for sequence, foretold, writing in answers]
    while going := [each for each in going if each[1].reason is None]:
        rows = session.step([(sequence, [[token]], (-1,)) for sequence, _, token in going])
        going = [
            (sequence, writing, writing.next(row)[0]) for (sequence, writing, _), row in zip(going, rows, strict=True)
        ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be given several times")
    given = parser.parse_args()
    default = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(default.resolve(), given.gguf, given.only or PARTS)

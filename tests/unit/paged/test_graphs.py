"""Steps whose inputs lie in buffers compute what other steps do; here without being captured, which needs a GPU."""

import random
from pathlib import Path

import pytest
from support import adapters, kv

torch = pytest.importorskip("torch")

from turnout.engines import adapter  # noqa: E402
from turnout.engines.paged.graphs import SIZES, DecodeGraphs  # noqa: E402
from turnout.engines.paged.pages import PagePool  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402
from turnout.engines.paged.sequence import KvSequence, step  # noqa: E402

CONFIG = {"hidden_size": 64}


def bench(name: str, graphs: bool) -> tuple[Runner, Residency]:
    model = kv.network(name, **CONFIG, **({"head_dim": 16} if name == "qwen3" else {}))
    shape = kv.shape(model)
    pool = PagePool(shape, 40, torch.float32, "cpu")
    runner = Runner(model, pool, "cpu")
    if graphs:
        runner._graphs = DecodeGraphs(runner._lean, pool, "cpu")
    return runner, Residency(pool)


def played(runner: Runner, residency: Residency) -> list:
    """Logits of steps with one to five sequences of different lengths, some with pages in common."""
    draw = random.Random(3)
    sequences = []
    for length in (5, 63, 64, 130):
        sequences.append(KvSequence(runner, residency))
        sequences[-1].prefill(draw.choices(range(400), k=length))
    sequences.append(sequences[-1].fork())
    logits = []
    for count in (1, 5, 3, 2, 5, 5, 1):
        feeds = [(sequence, [[draw.randrange(400)]], (-1,)) for sequence in sequences[:count]]
        logits.append(step(runner, feeds))
    return logits


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_buffers_and_plans_compute_the_same(name: str) -> None:
    for found, wanted in zip(played(*bench(name, True)), played(*bench(name, False)), strict=True):
        assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-4


def test_an_adapter_is_on_or_off_for_a_step_and_mixed_without_buffers(tmp_path: Path) -> None:
    found = []
    for graphs in (True, False):
        model = kv.network("llama", **CONFIG)
        switch = adapter.attach(model, adapter.read(adapters.build(tmp_path, model)), "tiny")
        pool = PagePool(kv.shape(model), 40, torch.float32, "cpu")
        runner, residency = Runner(model, pool, "cpu", switches=[switch]), Residency(pool)
        runner._graphs = DecodeGraphs(runner._lean, pool, "cpu") if graphs else None
        both = [KvSequence(runner, residency, adapted=adapted) for adapted in (True, False)]
        for sequence in both:
            sequence.prefill([7] * 70)
        steps = [both[:1], both[1:], both, both[:1], both[1:]]
        found.append([step(runner, [(sequence, [[5]], (-1,)) for sequence in fed]) for fed in steps])
    for buffered, planned in zip(*found, strict=True):
        assert (buffered - planned).abs().max() < 1e-4
    assert (found[0][0] - found[0][1]).abs().max() > 0.1


def test_idle_rows_touch_nobodys_pages() -> None:
    runner, residency = bench("llama", True)
    for keys in runner.pool.keys:
        keys.zero_()  # what was never written may be anything, even no number
    first, second = (KvSequence(runner, residency) for _ in range(2))
    for sequence in (first, second):
        sequence.prefill([7] * 70)
    pool = runner.pool
    before = [keys.clone() for keys in pool.keys]
    third = KvSequence(runner, residency)
    third.prefill([9] * 10)
    step(runner, [(sequence, [[5]], (-1,)) for sequence in (first, second, third)])
    changed = {int(slot) // 64 for keys, old in zip(pool.keys, before, strict=True)
               for slot in torch.nonzero((keys != old).any(-1).any(-1))}  # fmt: skip
    assert changed - {runner._graphs._idle} == {sequence._pages[-1] for sequence in (first, second, third)}


def test_every_number_of_rows_that_a_step_without_modules_takes_has_a_size() -> None:
    from turnout.engines.paged.lean import ROWS

    assert max(SIZES) >= ROWS

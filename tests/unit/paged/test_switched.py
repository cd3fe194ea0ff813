"""An adapter beside the weights is on for some sequences of a step and off for others."""

import random
from pathlib import Path
from typing import Any

import pytest
from support import adapters, kv

torch = pytest.importorskip("torch")

from turnout.engines import adapter  # noqa: E402
from turnout.engines.paged.sequence import step  # noqa: E402
from turnout.engines.paged.session import Session  # noqa: E402

IDS = random.Random(1).choices(range(400), k=300)


@pytest.fixture(params=["all", "some"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> adapter.Adapter:
    """An adapter of random weights for every layer, or for queries alone."""
    of = "q_proj" if request.param == "some" else "_proj"
    return adapter.read(adapters.build(tmp_path, kv.network(), of=of))


def merged(made: adapter.Adapter) -> Any:
    model = kv.network()
    adapter.merge(model, made, "tiny")
    return model


def session(made: adapter.Adapter) -> Session:
    model = kv.network()
    switch = adapter.attach(model, made, "tiny")
    return Session(model, kv.shape(model), 64 << 20, "cpu", "tiny", switches=[switch])


def test_each_sequence_reads_as_it_was_made(made: adapter.Adapter) -> None:
    with_, without = kv.logits(merged(made), IDS), kv.logits(kv.network(), IDS)
    assert (with_ - without).abs().max() > 0.1
    opened = session(made)
    adapted, plain = opened.sequence(), opened.sequence(adapted=False)
    assert (adapted.prefill(IDS[:260]) - with_[259]).abs().max() < 1e-3
    assert (plain.prefill(IDS[:260]) - without[259]).abs().max() < 1e-3
    for at in range(260, 270):  # few rows: without modules
        found = step(opened._runner, [(adapted, [IDS[at : at + 1]], (-1,)), (plain, [IDS[at : at + 1]], (-1,))])
        assert (found - torch.stack([with_[at], without[at]])).abs().max() < 1e-3
    found = step(opened._runner, [(plain, [IDS[270:]], (-1,)), (adapted, [IDS[270:]], (-1,))])  # many: with them
    assert (found - torch.stack([without[299], with_[299]])).abs().max() < 1e-3


def test_neither_finds_what_the_other_has_read(made: adapter.Adapter) -> None:
    opened = session(made)
    with opened.sequence() as first:
        first.prefill(IDS)
    for adapted, reused in ((False, 0), (True, 256)):
        with opened.sequence(adapted=adapted) as again:
            again.prefill(IDS)
            assert again.reused == reused


def test_a_fork_stays_as_it_was(made: adapter.Adapter) -> None:
    with session(made).sequence(adapted=False) as plain:
        plain.prefill(IDS[:100])
        with plain.fork() as fork:
            assert (fork.append([7]) - kv.logits(kv.network(), [*IDS[:100], 7])[100]).abs().max() < 1e-3

"""Recall is the dense softmax that lies on what a policy looks at, and density how much that is."""

import random

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged.pages import KvShape  # noqa: E402
from turnout.engines.paged.patterns import Antidiagonal, Lines, Mass, Observed, Pattern, Span  # noqa: E402
from turnout.engines.paged.policy import AttentionPolicy, everywhere, split  # noqa: E402
from turnout.engines.paged.recall import Looked, measure  # noqa: E402
from turnout.engines.paged.session import Session  # noqa: E402
from turnout.errors import ConfigurationError  # noqa: E402

CHUNK = 128
SHAPE = KvShape(2, 2, 16)
IDS = random.Random(3).choices(range(400), k=300)
SPAN = Span(4, 40)
POLICIES = {
    "dense": AttentionPolicy(),
    "span": everywhere(Pattern(SPAN)),
    "mass": everywhere(Pattern(Mass(0.5), Antidiagonal(8), block=64)),
    "lines": everywhere(Pattern(Lines(3, 2, sinks=1, newest=2), Observed(32, 16))),
    "split": split([[True, False]] * 2, SPAN),
    "whole": everywhere(Pattern(Mass(1.0), Antidiagonal(8), block=64)),
    "late": everywhere(Pattern(SPAN), start=256),
}


@pytest.fixture(scope="module")
def session() -> Session:
    network = kv.network("llama", hidden_size=64, initializer_range=0.3)
    return Session(network, SHAPE, 100 * SHAPE.page_bytes(4), "cpu", "m", chunk=CHUNK)


@pytest.fixture(scope="module")
def found(session: Session) -> dict[str, list[Looked]]:
    looked = measure(session, IDS, list(POLICIES.values()), repeats=1)
    assert len(session._residency._tree) == 0, "nothing is kept"
    return {name: looked[place :: len(POLICIES)] for place, name in enumerate(POLICIES)}


def weights(session: Session, layer: int, chunk: slice) -> "torch.Tensor":
    """[query heads, rows, keys] of dense attention."""
    sequence = session.sequence()
    if chunk.start:
        sequence.append(IDS[: chunk.start])
    rows = sequence.attention_rows(layer, IDS[chunk])
    sequence.close(keep=False)
    return rows


def test_dense_keeps_and_looks_at_everything(found: dict[str, list[Looked]]) -> None:
    for name in ("dense", "whole"):
        for looked in found[name]:
            assert looked.recall.shape == looked.density.shape == (2, 4)
            assert (looked.recall - 1).abs().max() < 1e-5 and (looked.density - 1).abs().max() < 1e-5


@pytest.mark.parametrize("place", range(3))
def test_recall_is_the_softmax_on_the_keys_that_are_seen(
    session: Session, found: dict[str, list[Looked]], place: int
) -> None:
    start, end = place * CHUNK, min((place + 1) * CHUNK, len(IDS))
    rows, keys = torch.arange(start, end)[:, None], torch.arange(end)
    seen = (keys <= rows) & ((rows - keys < SPAN.local) | (keys < SPAN.sink))
    density = seen.sum() / (keys <= rows).sum()
    looked, parted = found["span"][place], found["split"][place]
    assert (looked.past, looked.tokens) == (start, end - start)
    assert (looked.density - density).abs().max() < 1e-5
    assert (parted.density[:, :2] - density).abs().max() < 1e-5 and (parted.density[:, 2:] - 1).abs().max() < 1e-5
    for layer in range(2):
        kept = (weights(session, layer, slice(start, end)) * seen).sum(-1).mean(-1)
        assert (looked.recall[layer] - kept).abs().max() < 1e-4
        assert (parted.recall[layer, :2] - kept[:2]).abs().max() < 1e-4


def test_what_is_chosen_by_scores_keeps_more_than_its_share_of_the_keys(found: dict[str, list[Looked]]) -> None:
    for name in ("mass", "lines"):
        last = found[name][-1]
        assert last.density.mean() < 0.9 and last.recall.min() > 0
        assert last.recall.mean() > last.density.mean()
        assert last.seconds > 0 and last.dense_s > 0


def test_before_its_band_a_policy_is_dense(found: dict[str, list[Looked]]) -> None:
    first, second, third = found["late"]
    assert float(first.recall.min()) == pytest.approx(1) and float(second.density.min()) == pytest.approx(1)
    assert (third.recall - found["span"][2].recall).abs().max() < 1e-6


def test_chosen_chunks_alone(session: Session, found: dict[str, list[Looked]]) -> None:
    told: list[int] = []
    (only,) = measure(session, IDS, [POLICIES["span"]], places=[256], repeats=1, progress=told.append)
    assert only.past == 256 and (only.recall - found["span"][2].recall).abs().max() < 1e-5
    assert told == [128, 128, 44]


def test_what_can_not_be_measured_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="0 tokens"):
        measure(session, [], [])
    with pytest.raises(ValueError, match="no chunk of 128 tokens begins after 100"):
        measure(session, IDS, [], places=[100])
    with pytest.raises(ConfigurationError, match="3 layers"):
        measure(session, IDS, [split([[True, False]] * 3, SPAN)])


def test_one_token_and_a_layer_with_its_own_window_count_as_dense() -> None:
    network = kv.network("mistral", hidden_size=64)
    session = Session(network, SHAPE, 100 * SHAPE.page_bytes(4), "cpu", "m", chunk=CHUNK)
    for looked in measure(session, IDS[:129], [POLICIES["span"]], repeats=1)[:2]:
        assert looked.recall.min() == 1 and looked.density.min() == 1 and looked.seconds == 0

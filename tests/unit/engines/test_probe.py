"""The probe's samples are those of one prefill."""

from itertools import pairwise
from pathlib import Path

from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.engines.probe import measure, measure_by_asking


def test_chunks_follow_each_other_and_decode_is_measured_at_each_doubling(engine: LocalEngine):
    samples = measure(engine, budget_s=60.0)
    offsets = [offset for offset, _, _ in samples.prefill]
    sizes = [tokens for _, tokens, _ in samples.prefill]
    assert offsets == [place * engine.chunk for place in range(len(offsets))], "where those of a prompt begin"
    assert len(offsets) > 2 and set(sizes) == {engine.chunk}
    assert all(seconds > 0 for _, _, seconds in samples.prefill)
    contexts = [context for context, _ in samples.decode]
    assert sizes[0] == contexts[0]
    assert all(2 * a <= b for a, b in pairwise(contexts[:-1]))
    assert contexts[-1] <= engine.model.window


def test_the_budget_ends_it_after_two_chunks_and_one_that_stands_far_ahead(engine: LocalEngine):
    engine.open()
    assert engine._session is not None
    known = len(engine._session._residency._tree)
    samples = measure(engine, budget_s=0.0)
    offsets = [offset for offset, _, _ in samples.prefill]
    assert offsets[:2] == [0, engine.chunk] and len(offsets) == 3
    assert offsets[2] % engine.chunk == 0 and 4 * engine.chunk <= offsets[2] <= engine.model.window - engine.chunk
    assert samples.decode[-1][0] == offsets[2] + engine.chunk, "new tokens are written there too"
    assert len(engine._session._residency._tree) == known, "nobody finds what was made up"


def test_no_more_is_read_than_is_wanted(engine: LocalEngine):
    told = []
    samples = measure(engine, budget_s=60.0, most=200, progress=told.append)
    assert told == [tokens for _, tokens, _ in samples.prefill]
    assert 100 < sum(told) <= 200


def test_an_engine_is_measured_from_outside_by_prompts_of_growing_length():
    engine = FakeEngine(["one two three four five"], chunk_s=0.02, token_s=0.01)
    samples = measure_by_asking(engine, [256, 1024])
    (_, short, first), (_, long, second) = samples.prefill
    assert 150 < short < 400 < long < 1600
    assert second > first
    assert all(0.01 < seconds < 0.05 for _, seconds in samples.decode)
    assert len({context.question for context in engine.contexts}) == 2


def test_loading_is_measured_apart(tiny_folder: Path):
    fresh = LocalEngine(tiny_folder, device="cpu")
    assert measure(fresh).load_s > 10 * measure(fresh).load_s

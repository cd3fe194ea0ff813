"""An answer with proposals is the answer without them: greedy and sampled, with stops, cancels and pages."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import speculation, tiny_models
from support.speculation import Eager, Model, repeating, tokens, written
from support.tiny_models import context, text_of

torch = pytest.importorskip("torch")

from turnout.engines.local import LocalEngine  # noqa: E402
from turnout.engines.paged.pages import PAGE  # noqa: E402
from turnout.engines.paged.sequence import KvSequence  # noqa: E402
from turnout.engines.paged.tree import Tree  # noqa: E402
from turnout.engines.speculative import ahead as ahead_module  # noqa: E402
from turnout.engines.speculative.ahead import NODES, Ahead  # noqa: E402
from turnout.engines.speculative.plan import Counts  # noqa: E402
from turnout.types import Finished, GenerationParams, Token  # noqa: E402

KINDS = ("llama", "qwen3", "phi")
LENGTHS = (5, 64, 200, 512)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param)


def both(model: Model, ids: list[int], params: GenerationParams) -> tuple[list[int], list[int], Counts]:
    writing = written(params)
    with model.sequence() as sequence:
        author = Ahead(sequence, ids, writing, Eager())
        found = tokens(author, writing)
    return found, model.plain(ids, params), author.counts


@pytest.mark.parametrize("length", LENGTHS)
def test_greedy_answers_are_those_without_proposals(model: Model, length: int) -> None:
    found, plain, counts = both(model, repeating(length), GenerationParams(max_tokens=40))
    assert found == plain
    assert counts.drafted > 0


def test_sampled_answers_are_those_without_proposals(model: Model) -> None:
    """One draw a token: the same seed gives the same answer, so the distribution is the same too."""
    accepted = 0
    for seed in range(8):
        params = GenerationParams(max_tokens=30, temperature=0.2, seed=seed)
        found, plain, counts = both(model, repeating(150, seed=seed + 1), params)
        assert found == plain
        accepted += counts.accepted
    assert accepted > 0, "nothing of it was accepted, so nothing was tested"


def test_steps_are_fewer_than_tokens_where_proposals_come_true() -> None:
    model, params = Model(), GenerationParams(max_tokens=60)
    ids = repeating(100)
    said = [*ids, *model.plain(ids, params)]  # the model goes on as it did before: all of it can be looked up
    found, plain, counts = both(model, [*said, *ids], params)
    assert found == plain
    assert counts.rounds == 59 - counts.accepted
    assert counts.accepted <= counts.drafted <= NODES * counts.rounds


def test_several_ways_on_are_verified_in_one_step_and_more_of_it_comes_true(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rounds, trees = Model(config={"num_hidden_layers": 1}), [], []
    params = GenerationParams(max_tokens=40)
    plain = KvSequence.append

    def append(self: KvSequence, ids: Sequence[int], **options: Any) -> Any:
        trees.append(isinstance(ids, Tree))
        return plain(self, ids, **options)

    monkeypatch.setattr(KvSequence, "append", append)
    for ways in (1, 4):
        monkeypatch.setattr(ahead_module, "WAYS", ways)
        trees.clear()
        found = [both(model, repeating(150, seed=seed), params) for seed in range(3)]
        assert all(ahead == plain for ahead, plain, _ in found)
        assert any(trees) is (ways > 1)
        rounds.append(sum(counts.rounds for *_, counts in found))
    assert rounds[1] < rounds[0]


def test_keys_and_values_are_right_after_proposals_were_refused() -> None:
    model = Model()
    ids, params = repeating(200), GenerationParams(max_tokens=60)
    writing = written(params)
    with model.sequence() as sequence:
        found = tokens(Ahead(sequence, ids, writing, Eager()), writing)
        assert sequence.ids in ([*ids, *found], [*ids, *found[:-1]])
        fresh = model.sequence()
        after = sequence.append([7])[0]
        expected = fresh.append([*sequence.ids], logits=[-1])[0]
        assert (after - expected).abs().max() < 1e-4


def test_pages_of_the_answer_stay_taken_and_shared_ones_are_not_written_to() -> None:
    model, ids = Model(), repeating(2 * PAGE)
    pool = model.residency.pool
    with model.sequence() as stem:
        stem.prefill(ids)
        with stem.fork() as other:
            other.append([5, 6, 7])
            other.reserve(100)
            taken = pool.free
            other.truncate(2 * PAGE, more=100)
            assert pool.free == taken
            other.truncate(PAGE, more=300)  # the second page is the stem's too
            assert pool.free > taken
            other.append([9] * PAGE)
        last = stem.append([5])[0]
    with model.sequence() as fresh:
        assert (fresh.append([*ids, 5])[0] - last).abs().max() < 1e-4


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalEngine, LocalEngine]:
    folder: Path = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", num_hidden_layers=1)
    made = [LocalEngine(folder, device="cpu", dtype="float32", lookup=lookup) for lookup in (True, False)]
    made[0]._authors._pace_of_lookups = Eager()
    return made[0], made[1]


ASKED = context("The light stands on the island and shines at night. " * 6)
PARAMS = GenerationParams(max_tokens=40)


def test_the_engine_answers_as_without_and_tells_its_figures(engines: tuple[LocalEngine, LocalEngine]) -> None:
    ahead, plain = engines
    for params in (PARAMS, replace(PARAMS, temperature=0.3, seed=5)):
        first, second = (list(engine.generate(ASKED, params)) for engine in engines)
        assert text_of(first) == text_of(second) != ""
        counts = ("reason", "prompt_tokens", "completion_tokens")
        assert [getattr(first[-1], name) for name in counts] == [getattr(second[-1], name) for name in counts]
    assert ahead.drafted().drafted > 0 and plain.drafted().rate is None
    list(ahead.generate(replace(ASKED, task="summarisation"), PARAMS))
    assert ahead.drafted().drafted == 0, "proposals are for answers that stand in the text"


def test_a_stop_string_ends_an_answer_within_proposals(engines: tuple[LocalEngine, LocalEngine]) -> None:
    text = text_of(engines[1].generate(ASKED, PARAMS))
    for start in range(0, len(text) - 3, 3):
        params = replace(PARAMS, stop=(text[start : start + 3],))
        first, second = (list(engine.generate(ASKED, params)) for engine in engines)
        assert text_of(first) == text_of(second) == text[: text.index(params.stop[0])]
        assert first[-1].reason == second[-1].reason == "stop"
        assert first[-1].completion_tokens == second[-1].completion_tokens


def test_a_caller_that_gives_up_gets_no_more_and_the_next_answer_is_right(
    engines: tuple[LocalEngine, LocalEngine],
) -> None:
    ahead, plain = engines
    whole = text_of(plain.generate(ASKED, PARAMS))
    for most in (1, 4, 9):
        seen: list[str] = []
        events = []
        for event in ahead.generate(ASKED, PARAMS, lambda most=most, seen=seen: len(seen) >= most):
            events.append(event)
            if isinstance(event, Token):
                seen.append(event.text)
        assert events[-1].reason == "cancelled" and len(seen) == most
        assert whole.startswith("".join(seen))
    given_up = ahead.generate(ASKED, PARAMS)
    while not isinstance(next(given_up), Token):
        pass
    given_up.close()
    assert text_of(ahead.generate(ASKED, PARAMS)) == whole
    assert ahead.in_flight().running == 0


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_an_answer_never_gets_more_tokens_than_allowed(engines: tuple[LocalEngine, LocalEngine], most: int) -> None:
    params = replace(PARAMS, max_tokens=most)
    first, second = (list(engine.generate(ASKED, params)) for engine in engines)
    assert isinstance(first[-1], Finished) and first[-1].completion_tokens == most
    assert text_of(first) == text_of(second)


def test_an_answer_that_fills_the_window_stays_inside(engines: tuple[LocalEngine, LocalEngine]) -> None:
    asked = context("night " * 200)
    room = engines[0].model.window - engines[0].count(asked)
    first, second = (list(engine.generate(asked, replace(PARAMS, max_tokens=room))) for engine in engines)
    assert text_of(first) == text_of(second)


@pytest.mark.slow
@pytest.mark.parametrize("name", ("llama", "qwen2", "qwen3"))
def test_two_hundred_prompts_are_answered_alike(name: str) -> None:
    model, source = Model(name), speculation.random.Random(3)
    for seed in range(200):
        ids = repeating(source.randrange(1, 513), seed=seed)
        found, plain, _ = both(model, ids, GenerationParams(max_tokens=32))
        assert found == plain, f"prompt {seed}"

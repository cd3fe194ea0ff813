"""A drafter and a target write what the mode promises, in one step of the target a round, and both stay right."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from support.speculation import Eager, Model, numbers, read, repeating, tokens, words, written

torch = pytest.importorskip("torch")

from turnout.engines.speculative.laws import steered  # noqa: E402
from turnout.engines.speculative.pace import Pace  # noqa: E402
from turnout.engines.speculative.plan import Mode, Speculation  # noqa: E402
from turnout.engines.speculative.rapid import Rapid  # noqa: E402
from turnout.types import GenerationParams  # noqa: E402

KINDS = ("llama", "qwen3", "phi")
GREEDY = GenerationParams(max_tokens=32)


class Counted:
    """A sequence whose steps after the prompt are counted, as the rows that each had."""

    def __init__(self, sequence: Any) -> None:
        self._sequence, self.steps = sequence, []

    def append(self, ids: list[int], **options: Any) -> Any:
        if not options.get("is_prompt"):
            self.steps.append(len(ids))
        return self._sequence.append(ids, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sequence, name)


class Bench:
    """A target, a drafter, and what they did."""

    def __init__(self, model: Model, drafter: Model | None = None, pace: Callable[[], Pace] = Eager) -> None:
        self.model, self.other, self._pace = model, drafter or model, pace

    def write(
        self,
        ids: list[int],
        draft_ids: list[int],
        params: GenerationParams = GREEDY,
        how: Speculation | None = None,
        ends: tuple[int, ...] = (),
    ) -> list[int]:
        self.pace, writing = self._pace(), written(params, ends)
        with self.model.sequence() as target, self.other.sequence() as drafter:
            self.target, self.drafter = Counted(target), Counted(drafter)
            self.author = Rapid(self.target, self.drafter, ids, draft_ids, how or Speculation(), writing, self.pace)
            found = tokens(self.author, writing)
            assert target.ids in ([*ids, *found], [*ids, *found[:-1]])
            self.read = list(drafter.ids)
        return found


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param)


@pytest.fixture(scope="module")
def llama() -> Model:
    return Model()


@pytest.mark.parametrize("length", [40, 300, 512])
def test_greedy_and_lossless_it_writes_what_the_target_writes(model: Model, length: int) -> None:
    ids = repeating(length)
    bench = Bench(model)
    for draft in (ids[-20:], ids):  # a drafter that is mostly wrong, and one that is always right
        assert bench.write(ids, draft) == model.plain(ids, GREEDY)
    assert bench.author.counts.rate == 1.0


def test_one_step_of_the_target_a_round_and_at_most_gamma_of_the_drafter(llama: Model) -> None:
    ids = repeating(200)
    for draft, how in ((ids[-30:], Speculation(confidence=0.0)), (ids, Speculation(gamma=5, confidence=0.0))):
        bench = Bench(llama)
        found = bench.write(ids, draft, how=how)
        counts = bench.author.counts
        assert len(bench.target.steps) == counts.rounds
        assert len(found) <= 1 + counts.rounds + counts.accepted
        assert len(bench.drafter.steps) <= how.gamma * counts.rounds
        assert max(bench.target.steps) <= how.gamma + 1
    assert counts.rounds == 6, "1 + 5 * 6 + 1 tokens: every round of a right drafter gives gamma + 1"


def test_steered_the_drafter_reads_at_most_one_token_more_a_round(llama: Model) -> None:
    ids = repeating(100)
    bench = Bench(llama)
    how = Speculation("steered", eta=5.0, gamma=4, confidence=0.0)
    bench.write(ids, ids, how=how)
    assert len(bench.target.steps) == bench.author.counts.rounds
    assert len(bench.drafter.steps) <= (how.gamma + 1) * bench.author.counts.rounds


@pytest.mark.parametrize("gamma", [1, 3, 10])
def test_greedy_and_steered_the_answer_does_not_depend_on_gamma(llama: Model, gamma: int) -> None:
    ids, draft = repeating(150), words(40, seed=9)
    how = Speculation("steered", eta=8.0, gamma=gamma)
    found = Bench(llama).write(ids, draft, how=how)
    said: list[int] = []
    for _ in range(GREEDY.max_tokens):  # p_hat token by token
        with llama.sequence() as target, llama.sequence() as drafter:
            z, q = target.prefill([*ids, *said]), torch.softmax(drafter.prefill([*draft, *said]), -1)
        said.append(int(steered(z[None], q[None], how.eta, how.tail).argmax()))
        if len(said) == 12:
            break
    assert found[:12] == said
    assert found != llama.plain(ids, GREEDY), "steering changed nothing, so nothing was tested"


@pytest.mark.parametrize("mode", ["lossless", "steered", pytest.param("paper", marks=pytest.mark.slow)])
def test_between_hundreds_of_rounds_both_have_read_exactly_what_is_written(mode: Mode) -> None:
    """And what they hold foretells what a fresh reading of it does."""
    model = Model(config={"num_hidden_layers": 1})
    ids, draft = repeating(60), words(20, seed=4)
    params = GenerationParams(max_tokens=330, temperature=0.7, seed=3)
    how, writing = Speculation(mode, eta=0.0 if mode == "lossless" else 5.0, gamma=4, confidence=0.0), written(params)
    with model.sequence() as target, model.sequence() as drafter:
        author = Rapid(target, drafter, ids, draft, how, writing, Eager())
        read(author)
        steps, said, checked = author.tokens(), list[int](), 0
        while writing.reason is None:
            item = next(steps)
            if isinstance(item, int):
                writing.write(item)
                said.append(item)
            elif author.counts.rounds % 8 == 0:
                assert target.ids == [*ids, *said[:-1]]
                assert drafter.ids == [*draft, *said][: drafter.length] and drafter.length >= len(draft) + len(said) - 2
                for sequence in (target, drafter):
                    with sequence.fork() as held, model.sequence() as fresh:
                        gap = held.append([7])[0] - fresh.append([*sequence.ids, 7])[0]
                        assert gap.abs().max() < 1e-3
                        held.close(keep=False)
                        fresh.close(keep=False)
                checked += 1
        steps.close()
        assert author.counts.refused > 100 and checked > 15


def test_the_draft_is_short_and_matters(llama: Model) -> None:
    ids = repeating(400)
    bench = Bench(llama)
    how = Speculation("steered", eta=10.0)
    answers = {tuple(bench.write(ids, words(25, seed=seed), how=how)) for seed in range(4)}
    assert len(answers) > 1
    assert len(bench.read) < 25 + GREEDY.max_tokens + how.gamma
    assert len({tuple(bench.write(ids, words(25, seed=seed))) for seed in range(4)}) == 1, "lossless it changes nothing"


def test_an_end_that_was_drafted_ends_the_answer(llama: Model) -> None:
    ids = repeating(120)
    plain = llama.plain(ids, GREEDY)
    for place in (0, 3, 7):
        end = plain[place]
        found = Bench(llama).write(ids, ids, ends=(end,))
        assert found == plain[: plain.index(end) + 1]


def test_giving_up_within_a_draft_ends_it(llama: Model) -> None:
    ids, asked = repeating(100), []
    writing = written(GREEDY)

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 3

    with llama.sequence() as target, llama.sequence() as drafter:
        author = Rapid(target, drafter, ids, ids, Speculation(confidence=0.0), writing, Eager(), stopped)
        read(author)
        assert author.length == author.to_read == 200
        found = []
        for token in numbers(author.tokens()):
            writing.write(token)
            found.append(token)
        assert len(found) == 1 and target.ids == ids


def test_a_measured_pace_stops_drafts_that_do_not_pay_and_changes_nothing(llama: Model) -> None:
    class Dear(Pace):
        def drafted(self, tokens: int, seconds: float) -> None:
            super().drafted(tokens, 100.0)

    ids = repeating(100)
    bench = Bench(llama, pace=Dear)
    assert bench.write(ids, ids) == llama.plain(ids, GREEDY)
    assert 1 < bench.target.steps.count(1) > len(bench.target.steps) // 2


def test_another_model_may_draft(llama: Model) -> None:
    small = Model(config={"num_hidden_layers": 1, "vocab_size": 416})
    ids = repeating(100)
    assert Bench(llama, small).write(ids, ids[-40:]) == llama.plain(ids, GREEDY)


# --- distributions -------------------------------------------------------------------------------------------------

SMALL = {"vocab_size": 32, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16, "pad_token_id": 0}
IDS, DRAFT = words(24, 1, 32), words(10, 2, 32)
TWO = GenerationParams(max_tokens=3, temperature=0.6)


def law(model: Model, how: Speculation) -> dict[tuple[int, ...], float]:
    """The joint law of the second and third token after the likeliest first one, by the definition. The last token of
    an answer is never drafted: as published, it is the target's."""
    first = most_likely(model, how)
    found: dict[tuple[int, ...], float] = {}
    begin = one(model, [first], how)
    for token in range(32):
        if begin[token] > 1e-4:
            after = one(model, [first, token], Speculation() if how.mode == "paper" else how)
            for other in range(32):
                found[token, other] = float(begin[token] * after[other])
    return found


def most_likely(model: Model, how: Speculation) -> int:
    return int(one(model, [], how).argmax())


def one(model: Model, said: list[int], how: Speculation) -> Any:
    with model.sequence() as target, model.sequence() as drafter:
        z = target.append([*IDS, *said])[0] / TWO.temperature
        q = torch.softmax(drafter.append([*DRAFT, *said])[0] / TWO.temperature, -1)
    p_hat = steered(z[None], q[None], how.eta, how.tail)[0]
    if how.mode != "paper":
        return p_hat
    p, accepted = torch.softmax(z, -1), torch.minimum(q, p_hat)
    left = torch.stack([p - p_hat, p - q, torch.zeros(32)]).amax(0)
    return accepted + (1 - accepted.sum()) * left / left.sum()


def sampled(model: Model, how: Speculation, draws: int) -> Counter[tuple[int, ...]]:
    """The same by drawing; both prompts are read once."""
    first = most_likely(model, how)
    found: Counter[tuple[int, ...]] = Counter()
    with model.sequence() as target, model.sequence() as drafter:
        z, _ = target.append(IDS)[0], drafter.append(DRAFT)
        forced = torch.full_like(z, -torch.inf)
        forced[first] = 0.0
        for seed in range(draws):
            params = GenerationParams(TWO.max_tokens, TWO.temperature, seed=seed)
            with target.fork() as a, drafter.fork() as b:
                writing = written(params)
                author = Rapid(a, b, IDS, DRAFT, how, writing, Eager())
                author._foretold = forced, forced
                picked = author.tokens()
                shown, said = numbers(picked), []
                while writing.reason is None:
                    said.append(next(shown))
                    writing.write(said[-1])
                picked.close()
                a.close(keep=False)
                b.close(keep=False)
            assert said[0] == first
            found[tuple(said[1:])] += 1
    return found


def apart(found: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> float:
    """Total variation of the first token, and of the second, whichever is larger."""
    draws, worst = found.total(), 0.0
    for place in (0, 1):
        gap = torch.zeros(32)
        for key, count in found.items():
            gap[key[place]] += count / draws
        for key, share in expected.items():
            gap[key[place]] -= share
        worst = max(worst, float(gap.abs().sum() / 2))
    return worst


HOWS = {
    "lossless": Speculation(confidence=0.4),
    "steered": Speculation("steered", eta=5.0, gamma=2, confidence=0.4),
    "steered one by one": Speculation("steered", eta=5.0, gamma=1),
    "paper": Speculation("paper", eta=10.0),
}


@pytest.fixture(scope="module")
def small() -> Model:
    return Model(config=SMALL)


@pytest.mark.parametrize("name", ["lossless", "steered", "paper"])
def test_samples_are_distributed_as_promised(small: Model, name: str) -> None:
    """Few draws, so far looser than the slow test; dropping doubtful tokens of a draft would fail it all the same."""
    how = HOWS[name]
    assert apart(sampled(small, how, 400), law(small, how)) <= 0.09


def test_the_modes_promise_different_things(small: Model) -> None:
    laws = [torch.stack([one(small, [most_likely(small, how)], how)]) for how in HOWS.values()]
    gaps = [float((a - b).abs().sum() / 2) for a, b in pairwise([laws[0], laws[1], laws[3], laws[0]])]
    assert min(gaps) > 0.06, "the tolerances below would not tell them apart"


@pytest.mark.slow
@pytest.mark.parametrize("name", HOWS)
def test_samples_are_distributed_as_promised_over_many_draws(small: Model, name: str) -> None:
    how = HOWS[name]
    assert apart(sampled(small, how, 20_000), law(small, how)) <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", ("llama", "qwen2", "qwen3"))
def test_two_hundred_prompts_are_answered_as_by_the_target(name: str) -> None:
    model = Model(name)
    for seed in range(200):
        ids = repeating(1 + 512 * seed // 200, seed=seed)
        found = Bench(model).write(ids, ids[-(1 + len(ids) // 4) :])
        assert found == model.plain(ids, GREEDY), f"prompt {seed}"

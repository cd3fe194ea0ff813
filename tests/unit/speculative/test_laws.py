"""What is accepted and what is written in its place follow the law of each mode: by total variation over many draws."""

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from turnout.engines.speculative.laws import ALPHA, Law, steered  # noqa: E402
from turnout.engines.speculative.plan import DraftedContext, Speculation  # noqa: E402
from turnout.errors import ConfigurationError, UnknownNameError  # noqa: E402
from turnout.types import Context  # noqa: E402

WORDS = 32
FEW = 5000
MANY = 20_000
CLOSE = 0.03


def pair(seed: int, apart: float = 1.5) -> tuple:
    """Logits of target and drafter over 32 words of which a few are likely, as a language model's are."""
    source = torch.Generator().manual_seed(seed)
    target = 3 * torch.randn(WORDS, generator=source)
    return target, target + apart * torch.randn(WORDS, generator=source)


def drawn(how: Speculation, target, drafter, draws: int, temperature: float = 1.0) -> torch.Tensor:
    """Frequencies [32] of the first token that is written where one token is drafted."""
    random = torch.Generator().manual_seed(1)
    law = Law(how, temperature, random, WORDS)
    found = torch.zeros(WORDS)
    for _ in range(draws):
        token, q = law.draft(drafter)
        accepted, instead = law.judge([token], target[None], [q])
        found[token if accepted else instead] += 1
    return found / draws


def apart(first, second) -> float:
    return float((first - second).abs().sum() / 2)


def expected(how: Speculation, target, drafter) -> torch.Tensor:
    """The law of the first token, by the formulas of the paper and of speculative sampling."""
    p, q = torch.softmax(target, -1), torch.softmax(drafter, -1)
    if how.mode == "lossless":
        return p
    p_hat = steered(target[None], q[None], how.eta, how.tail)[0]
    if how.mode == "steered":
        return p_hat
    accepted = torch.minimum(q, p_hat)
    left = torch.stack([p - p_hat, p - q, torch.zeros(WORDS)]).amax(0)
    return accepted + (1 - accepted.sum()) * left / left.sum()


MODES = [
    Speculation(),
    Speculation("steered", eta=5.0),
    Speculation("steered", eta=10.0, tail="draft"),
    Speculation("paper", eta=10.0),
    Speculation("paper", eta=0.0),
]
NAMES = [f"{how.mode} {how.eta:g} {how.tail}" for how in MODES]


@pytest.mark.parametrize("how", MODES, ids=NAMES)
def test_what_is_written_follows_the_law_of_the_mode(how: Speculation) -> None:
    target, drafter = pair(4)
    found = drawn(how, target, drafter, FEW)
    assert apart(found, expected(how, target, drafter)) <= CLOSE
    assert apart(found, torch.softmax(drafter, -1)) > 3 * CLOSE, "the drafter alone would pass"


@pytest.mark.slow
@pytest.mark.parametrize("how", MODES, ids=NAMES)
def test_what_is_written_follows_the_law_of_the_mode_over_many_draws(how: Speculation) -> None:
    for seed in (3, 4, 5):
        target, drafter = pair(seed)
        assert apart(drawn(how, target, drafter, MANY), expected(how, target, drafter)) <= CLOSE


def test_the_published_mode_is_not_lossless_and_steering_nears_the_drafter() -> None:
    target, drafter = pair(3)
    p, q = torch.softmax(target, -1), torch.softmax(drafter, -1)
    paper = expected(Speculation("paper", eta=10.0), target, drafter)
    p_hat = expected(Speculation("steered", eta=5.0), target, drafter)
    assert apart(paper, p) > 2 * CLOSE
    assert apart(p_hat, q) < apart(p, q)
    assert apart(expected(Speculation("paper"), target, drafter), p) < 1e-6


@pytest.mark.parametrize("tail", ["steered", "draft"])
def test_steering_raises_what_the_drafter_prefers_and_leaves_the_tail(tail: str) -> None:
    target, drafter = pair(7)
    p, q = torch.softmax(target, -1), torch.softmax(drafter, -1)
    p_hat = steered(target[None], q[None], 8.0, tail)[0]
    assert float(p_hat.sum()) == pytest.approx(1, abs=1e-5)
    raw = torch.softmax(target + 8.0 * (q - p), -1)
    kept = raw < ALPHA * raw.max() if tail == "steered" else q < ALPHA * q.max()
    assert 0 < int(kept.sum()) < WORDS
    ratio = (p_hat / p).log()
    assert float(ratio[kept].max() - ratio[kept].min()) < 1e-4, "in the tail all keep their shares of one another"
    order = (q - p)[~kept].argsort()
    assert bool((ratio[~kept][order].diff() > 0).all()), "more where the drafter likes it more"


def test_greedy_picks_are_the_limit_of_low_temperatures() -> None:
    for seed in range(30):
        target, drafter = pair(seed)
        p, q = torch.softmax(target, -1), torch.softmax(drafter, -1)
        for how in MODES:
            law = Law(how, 0.0, torch.Generator(), WORDS)
            token, soft = law.draft(drafter)
            assert token == int(drafter.argmax()) and torch.equal(soft, q)
            best = int(steered(target[None], q[None], how.eta, how.tail)[0].argmax())
            accepted, instead = law.judge([token], target[None], [soft])
            assert accepted == (best == token)
            if not accepted:
                assert instead == (int(p.argmax()) if how.mode == "paper" else best)
            assert law.undrafted(target, drafter) == (best if how.mode == "steered" else int(p.argmax()))


def test_where_drafter_and_target_agree_all_is_accepted() -> None:
    target, _ = pair(1)
    law = Law(Speculation(), 1.0, torch.Generator().manual_seed(0), WORDS)
    for _ in range(200):
        token, q = law.draft(target)
        assert law.judge([token], target[None], [q]) == (1, None)


def test_padded_vocabularies_meet() -> None:
    _, drafter = pair(2)
    wider = torch.cat([drafter, torch.full((8,), 99.0)])
    law = Law(Speculation("steered", eta=5.0), 1.0, torch.Generator().manual_seed(0), WORDS)
    token, q = law.draft(wider)
    assert token < WORDS and torch.allclose(q, torch.softmax(drafter, -1))
    _, narrow = law.draft(drafter[:-4])
    assert len(narrow) == WORDS and not narrow[-4:].any()


BAD: dict[str, Callable[[], Speculation]] = {
    "no gamma": lambda: Speculation(gamma=0),
    "a large gamma": lambda: Speculation(gamma=16),
    "half a token": lambda: Speculation(gamma=2.5),  # type: ignore[arg-type]
    "eta under 0": lambda: Speculation("steered", eta=-1.0),
    "a large eta": lambda: Speculation("paper", eta=1e9),
    "no number": lambda: Speculation("paper", eta=math.nan),
    "confidence over 1": lambda: Speculation(confidence=1.5),
    "steering without a change": lambda: Speculation("lossless", eta=5.0),
}


@pytest.mark.parametrize("name", BAD)
def test_figures_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        BAD[name]()
    assert refused.value.hint


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="mode"):
        Speculation("exact")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="tail"):
        Speculation(tail="none")  # type: ignore[arg-type]


def test_a_drafted_context_is_a_context() -> None:
    context = DraftedContext((), "Why?")
    assert isinstance(context, Context) and context.draft == () and context.how == Speculation()

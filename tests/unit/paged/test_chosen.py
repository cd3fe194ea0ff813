"""New tokens that look at chosen pages: what is chosen, for how long, and what is kept; all pages are dense."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged.chosen import FEW, ChosenPages, bits, bounds_of, keys_in  # noqa: E402
from turnout.engines.paged.pages import PAGE, KvShape  # noqa: E402
from turnout.engines.paged.patterns import Pages, Pattern, Span  # noqa: E402
from turnout.engines.paged.policy import AttentionPolicy, everywhere  # noqa: E402
from turnout.engines.paged.recall import measure  # noqa: E402
from turnout.engines.paged.session import Session  # noqa: E402
from turnout.engines.paged.tree import Tree  # noqa: E402
from turnout.errors import ConfigurationError  # noqa: E402

CLOSE = 1e-4
SHAPE = KvShape(2, 2, 16)
PROMPT = 600
FOUR = Pages(4, every=1, start=0, dense_layers=0)


def made(int8: bool = False) -> Session:
    network = kv.network("llama", hidden_size=64, initializer_range=0.3)
    return Session(network, SHAPE, 100 * SHAPE.page_bytes(4), "cpu", "m", chunk=128, int8=int8)


@pytest.fixture(scope="module")
def session() -> Session:
    return made()


def words(count: int, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


def begun(session: Session, pages: Pages | None, name: str = "a", prompt: int = PROMPT) -> Any:
    sequence = session.sequence(name, policy=None if pages is None else AttentionPolicy(decode=pages))
    sequence.prefill(words(prompt))
    return sequence


def test_a_budget_of_all_pages_is_dense_and_so_is_what_comes_before_the_start(session: Session) -> None:
    dense, whole, early = (begun(session, one) for one in (None, replace(FOUR, budget=10), replace(FOUR, start=620)))
    for token in words(20, 2):
        wanted = dense.append([token])
        assert (wanted - whole.append([token])).abs().max() < CLOSE
        assert (wanted - early.append([token])).abs().max() < CLOSE
    assert (dense.append([1]) - early.append([1])).abs().max() > CLOSE
    for sequence in (dense, whole, early):
        sequence.close(keep=False)


def test_all_pages_read_through_the_choice_are_dense(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChosenPages, "is_for", lambda *_: True)
    dense, whole = begun(session, None), begun(session, replace(FOUR, budget=99))
    for ids in ([3], [4, 5, 6], Tree([7, 8, 9], [-1, 0, 0])):
        assert (dense.append(ids) - whole.append(ids)).abs().max() < CLOSE
    dense.close(keep=False)
    whole.close(keep=False)


def test_a_few_pages_are_the_softmax_over_them(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer's output against the mask written out, for single tokens, drafted ones and a tree."""
    seen = []
    attended = ChosenPages.attended

    def checked(self: ChosenPages, layer: Any, piece: Any, table: Any) -> Any:
        output, sums = attended(self, layer, piece, table)
        ids = self._choices[layer.index].ids[0]
        weights = layer.weights(piece)
        at = torch.arange(weights.shape[-1])
        shown = torch.stack([torch.isin(at // PAGE, row) for row in ids]).repeat_interleave(2, 0)
        weights = weights * shown[:, None]
        mass = weights.sum(-1)
        assert ((sums - layer.dense(piece)[1]).exp() - mass).abs().max() < CLOSE
        _, values = layer._gathered(piece, 0)
        truth = weights @ values.repeat_interleave(2, 0) / mass[..., None]
        assert (truth - output).abs().max() < CLOSE
        assert (ids[:, 0] == 0).all() and (ids[:, -1] == piece.past // PAGE).all(), "the first and the last are there"
        seen.append((ids.shape[1], piece.end - piece.begin))
        return output, sums

    monkeypatch.setattr(ChosenPages, "attended", checked)
    sequence = begun(session, FOUR)
    sequence.append([5])
    sequence.append(Tree([7, 8, 9], [-1, 0, 0]))
    sequence.follow([0, 2])
    sequence.append([4, 3])
    assert seen == [(4, 1)] * 2 + [(4, 3)] * 2 + [(4, 2)] * 2
    sequence.append(words(FEW + 1))
    assert len(seen) == 6, "more tokens are a text that was appended"
    sequence.close(keep=False)


def test_several_sequences_write_as_each_alone_does(session: Session) -> None:
    """One chooses pages, one is too short for it, one looks at everything; two begin alike."""
    alone = [begun(session, FOUR), begun(session, FOUR, prompt=200), begun(session, None)]
    together = [sequence.fork() for sequence in alone]
    for token in words(6, 2):
        wanted = [sequence.append([token]) for sequence in alone]
        found = session.step([(sequence, [[token]], (-1,)) for sequence in together])
        assert (found - torch.cat(wanted)).abs().max() < CLOSE
    for sequence in (*alone, *together):
        sequence.close(keep=False)


def test_a_choice_holds_for_some_steps_and_until_a_page_begins(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_at: list[int] = []
    best = ChosenPages._best
    monkeypatch.setattr(
        ChosenPages,
        "_best",
        lambda self, layer, piece, table: (made_at.append(piece.past), best(self, layer, piece, table))[1],
    )
    sequence = begun(session, replace(FOUR, every=5, dense_layers=1), prompt=630)
    for token in words(14, 2):
        sequence.append([token])
    assert made_at == [630, 635, 640], "640 is the first token of a page; the first layer looks at everything"
    branch = sequence.fork()
    branch.append([1])
    assert made_at == [630, 635, 640], "a fork goes on with the choice"
    branch.truncate(500)
    branch.append([1])
    assert made_at[3:] == [500]
    branch.close(keep=False)
    sequence.close(keep=False)


def test_bounds_that_were_kept_are_those_taken_anew_after_tokens_were_dropped(session: Session) -> None:
    sequence = begun(session, FOUR)
    random_ = random.Random(4)
    for token in words(12, 5):
        sequence.append([token, *words(random_.randrange(8), 6)])
        sequence.truncate(sequence.length - random_.randrange(4) * 40)
        if sequence.length < 400:
            sequence.append(words(200, 7))
        sequence.append([token])
        for layer, kept in sequence._chosen._bounds.items():
            whole = torch.tensor(sequence._pages[: len(kept)])
            assert torch.equal(kept, bounds_of(sequence._runner.pool.keys[layer], whole))
            assert len(kept) <= sequence.length // PAGE
    sequence.close(keep=False)


def test_no_key_of_a_page_is_outside_of_its_bounds() -> None:
    keys = torch.randn(3 * PAGE, 2, 16, generator=torch.Generator().manual_seed(1))
    bounds = bounds_of(keys, torch.tensor([2, 0]))
    assert bounds.shape == (2, 2, 4, 2, 16) and bounds.dtype == torch.bfloat16 and bounds.is_contiguous()
    for place, page in enumerate((2, 0)):
        own = keys[page * PAGE : (page + 1) * PAGE].view(4, 16, 2, 16).transpose(1, 2)
        for sub in range(4):
            least, most = bounds[place, :, sub].float().unbind(1)
            assert (own[sub].transpose(0, 1) >= least).all() and (own[sub].transpose(0, 1) <= most).all()


def test_what_was_written_over_chosen_pages_is_kept_for_nobody_and_the_prompt_for_dense_reading_too() -> None:
    session, ids, new = made(), words(PROMPT), words(80, 2)
    sequence = begun(session, FOUR)
    for token in new:
        sequence.append([token])
    sequence.close()
    assert session.resident([*ids, *new], "a") == 576 == PROMPT // PAGE * PAGE
    assert session.resident([*ids, *new], "a", policy=AttentionPolicy(decode=FOUR)) == 576
    short = begun(session, replace(FOUR, start=9999))
    for token in new:
        short.append([token])
    short.close()
    assert session.resident([*ids, *new, 1], "a") == 640, "what looked at everything is kept"


def test_recall_of_new_tokens_is_the_softmax_on_their_pages(session: Session) -> None:
    ids = words(PROMPT)
    policies = [AttentionPolicy(decode=pages) for pages in (FOUR, replace(FOUR, budget=9), replace(FOUR, every=8))]
    policies += [AttentionPolicy(decode=replace(FOUR, budget=10)), AttentionPolicy()]
    some, most, rare, whole, none = measure(session, ids, [], places=[], decoding=policies, steps=10)
    assert (some.past, some.tokens) == (590, 10) and some.recall.shape == some.density.shape == (2, 4)
    assert 0 < some.recall.min() < some.recall.mean() < most.recall.mean() < 1
    assert not torch.equal(rare.recall, some.recall) and some.seconds > 0 and some.dense_s > 0
    for looked in (whole, none):
        assert (looked.recall - 1).abs().max() < 1e-6 and (looked.density - 1).abs().max() < 1e-6
    totals = range(591, 601)
    expected = sum((3 * PAGE + (total - 1) % PAGE + 1) / total for total in totals) / 10
    assert float(some.density.mean()) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="the last 600 of 600 tokens"):
        measure(session, ids, [], places=[], decoding=policies, steps=600)


def test_the_choice_is_part_of_the_policy_but_not_of_what_is_kept() -> None:
    span = everywhere(Pattern(Span(4, 40)))
    policies = [replace(span, decode=pages) for pages in (None, FOUR, Pages())]
    policies += [AttentionPolicy(decode=FOUR), AttentionPolicy()]
    assert len({policy.fingerprint for policy in policies}) == 5
    assert len({policy.key(128) for policy in policies}) == 2 and policies[3].key(128) == ""
    assert [policy.is_dense for policy in policies] == [False] * 4 + [True]
    for policy in policies:
        copy = AttentionPolicy.from_dict(json.loads(json.dumps(policy.to_dict())))
        assert copy == policy and copy.fingerprint == policy.fingerprint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 3}, "budget is 3"),
        ({"every": 0}, "every is 0"),
        ({"last": 1}, "last is 1"),
        ({"first": -1}, "first is -1"),
        ({"start": 0.5}, "start is 0.5"),
    ],
)
def test_what_can_not_be_is_refused(options: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Pages(**options)
    with pytest.raises(ConfigurationError):
        AttentionPolicy.from_dict({"bands": [], "decode": options})


def test_bits_and_counts() -> None:
    assert bits(torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]).bool()).tolist() == [1, 3, 5]
    assert keys_in(torch.tensor([[[0, 2, -1], [0, 1, 2]]], dtype=torch.int32), 130).tolist() == [66, 130]

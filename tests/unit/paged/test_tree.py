"""Tokens that go on in several ways, read in one step, foretell what each way read alone does; one way is kept."""

import pytest
from support import kv
from support.speculation import Model, words

torch = pytest.importorskip("torch")

from turnout.engines.paged.pages import PAGE  # noqa: E402
from turnout.engines.paged.sequence import step  # noqa: E402
from turnout.engines.paged.tree import Tree  # noqa: E402

CLOSE = 1e-4
# 7 goes on as 8 9 10, as 8 11, and as 12 13; 14 stands beside 7.
TREE = Tree([7, 8, 9, 10, 11, 12, 13, 14], [-1, 0, 1, 2, 1, 0, 5, -1])


def way(place: int) -> list[int]:
    """Places from the first token to one."""
    return [] if place < 0 else [*way(TREE.parents[place]), place]


def said(place: int) -> list[int]:
    return [TREE[at] for at in way(place)]


@pytest.mark.parametrize("name", kv.ARCHITECTURES)
@pytest.mark.parametrize("length", [PAGE - 3, 300])
def test_every_token_foretells_what_its_way_alone_does(name: str, length: int) -> None:
    model, ids = Model(name), words(length)
    with model.sequence() as sequence:
        sequence.append(ids)
        found = sequence.append(TREE, logits=range(len(TREE)))
        for place, row in enumerate(found):
            wanted = kv.logits(model.network_as_it_is, [*ids, *said(place)])[-1]
            assert (row - wanted).abs().max() < CLOSE, place


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("last", range(-1, len(TREE)))
def test_the_way_that_is_kept_is_as_if_it_had_been_read_alone(name: str, last: int) -> None:
    model, ids = Model(name), words(PAGE - 2)
    with model.sequence() as stem:
        stem.append(ids)
        with stem.fork() as sequence:  # the page is the stem's too
            sequence.append(TREE)
            sequence.follow(way(last), more=5)
            kept = [*ids, *said(last)]
            assert sequence.ids == kept
            after = sequence.append([21, 22], logits=range(2))
        wanted = kv.logits(model.network_as_it_is, [*kept, 21, 22])[-2:]
        assert (after - wanted).abs().max() < CLOSE
        assert (stem.append([21])[0] - kv.logits(model.network_as_it_is, [*ids, 21])[-1]).abs().max() < CLOSE


def test_a_tree_shares_its_step_with_other_sequences() -> None:
    model, ids, others = Model(), words(100), words(80, seed=2)
    with model.sequence() as first, model.sequence() as second:
        first.append(ids)
        second.append(others)
        found = step(model.runner, [(second, [[5]], [-1]), (first, [TREE], range(len(TREE)))])
        assert (found[0] - kv.logits(model.network_as_it_is, [*others, 5])[-1]).abs().max() < CLOSE
        for place, row in enumerate(found[1:]):
            assert (row - kv.logits(model.network_as_it_is, [*ids, *said(place)])[-1]).abs().max() < CLOSE


def test_what_is_kept_is_found_again_and_what_is_not_is_not() -> None:
    model, ids = Model(), words(2 * PAGE - 4)
    with model.sequence() as first:
        first.prefill(ids)
        first.append(TREE)
        first.follow(way(3))
        kept = list(first.ids)
        first.append(words(PAGE, seed=3))
    with model.sequence() as second:
        warm = second.prefill([*kept, 30, 31])
        assert second.reused == 2 * PAGE == len(kept)
        assert (warm - kv.logits(model.network_as_it_is, [*kept, 30, 31])[-1]).abs().max() < CLOSE
    other = Model()
    with other.sequence() as dropped:
        dropped.prefill(ids)
        dropped.append(TREE)
    assert other.residency.resident("m", [*ids, *TREE.ids, 1]) == PAGE


def test_pages_beyond_what_is_kept_are_given_back() -> None:
    model = Model()
    free = model.residency.pool.free
    sequence = model.sequence()
    sequence.append(words(PAGE - 1))
    sequence.append(TREE)
    assert model.residency.pool.free == free - 2
    sequence.follow(way(0))
    assert model.residency.pool.free == free - 1
    sequence.close(keep=False)
    assert model.residency.pool.free == free


def test_a_tree_has_to_be_followed_first_and_only_as_it_grows() -> None:
    with Model().sequence() as sequence:
        sequence.append(words(10))
        with pytest.raises(ValueError, match="no tree"):
            sequence.follow([0])
        for fragments, options in ([([1, 2], TREE), {}], [(TREE,), {"is_prompt": True}]):
            with pytest.raises(ValueError, match="a tree is read alone"):
                sequence.append(*fragments, **options)
        sequence.append(TREE)
        with pytest.raises(ValueError, match="followed before"):
            sequence.append([1])
        for wrong in ([1], [0, 2], [0, 1, 3], [5], [0, 5, 9]):
            with pytest.raises(ValueError, match="could be followed to"):
                sequence.follow(wrong)
        with pytest.raises(ValueError, match="follow it"):
            sequence.truncate(12)
        sequence.truncate(10)
        assert sequence.append([1]) is not None and sequence.length == 11


@pytest.mark.parametrize("parents", [[-1, 1], [0, 0], [-1, -2], [-1], [-1, 0, 0]])
def test_parents_that_are_no_tree_are_refused(parents: list[int]) -> None:
    with pytest.raises(ValueError, match="no tree"):
        Tree([1, 2], parents)


def test_a_beginning_of_a_tree_is_one() -> None:
    assert list(TREE[:3]) == [7, 8, 9] and isinstance(TREE[:3], Tree)
    with pytest.raises(ValueError, match="only a beginning"):
        TREE[1:]

"""Ways that begin alike are one, the likeliest nodes are kept, and what comes true of them is counted by kind."""

import pytest

from turnout.engines.paged.tree import Tree
from turnout.engines.speculative.trie import KINDS, Trie, Walk

WAYS = [([5, 6, 7], 3), ([5, 8], 3), ([9], 1)]
RATES = {3: 0.8, 3 + KINDS: 0.5, 1 + KINDS: 0.1}


def made() -> Trie:
    return Trie.of(WAYS, RATES.__getitem__)


def test_ways_that_begin_alike_are_one_until_they_part() -> None:
    trie = made()
    assert [(node.token, node.parent, node.kind) for node in trie.nodes] == [
        (5, -1, 3), (6, 0, 3), (7, 1, 3), (8, 0, 3 + KINDS), (9, -1, 1 + KINDS)
    ]  # fmt: skip
    ids = trie.after(4)
    assert isinstance(ids, Tree) and (ids.ids, ids.parents) == ([4, 5, 6, 7, 8, 9], [-1, 0, 1, 2, 1, 0])


def test_a_chance_is_that_of_what_it_follows_and_that_nothing_before_it_came_true() -> None:
    chances = [node.chance for node in made().nodes]
    assert chances == pytest.approx([0.8, 0.64, 0.512, 0.8 * 0.2 * 0.5, 0.2 * 0.1])
    assert made().chances() == sorted(chances, reverse=True)


@pytest.mark.parametrize("count", range(6))
def test_the_likeliest_nodes_come_with_all_that_they_follow(count: int) -> None:
    whole, kept = made(), made().likeliest(count)
    assert [node.chance for node in kept.nodes] == pytest.approx(whole.chances()[:count])
    assert all(-1 <= node.parent < place for place, node in enumerate(kept.nodes))
    assert isinstance(kept.after(4), Tree) == (count > 3)
    assert list(made().likeliest(3).after(4)) == [4, 5, 6, 7]


def test_nothing_proposed_is_the_last_token_alone() -> None:
    assert list(Trie().after(4)) == [4] and len(Trie.of([], RATES.__getitem__)) == 0
    walk = Walk(Trie())
    assert not walk.goes_on(5) and not walk.is_refused and walk.outcomes == {}


@pytest.mark.parametrize(
    ("picked", "places", "outcomes", "refused"),
    [
        ([5, 6, 7, 1], [0, 1, 2], {3: (3, 0)}, False),
        ([5, 8, 1], [0, 3], {3: (1, 1), 3 + KINDS: (1, 0)}, False),
        ([5, 1], [0], {3: (1, 1), 3 + KINDS: (0, 1)}, True),
        ([9, 1], [4], {3: (0, 1), 1 + KINDS: (1, 0)}, False),
        ([1], [], {3: (0, 1), 1 + KINDS: (0, 1)}, True),
    ],
)
def test_what_comes_true_is_counted(picked: list[int], places: list[int], outcomes: object, refused: bool) -> None:
    walk = Walk(made())
    assert [walk.goes_on(token) for token in picked] == [*[True] * len(places), False]
    assert (walk.places, walk.outcomes, walk.is_refused) == (places, outcomes, refused)

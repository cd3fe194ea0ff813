"""The prefix tree against the plain truth: a list of everything that was put in."""

import random

import pytest

torch = pytest.importorskip("torch")

from turnout.engines.paged.pages import PAGE, KvShape, PagePool  # noqa: E402
from turnout.engines.paged.prefix import PrefixTree  # noqa: E402


def pool_of(pages: int) -> PagePool:
    return PagePool(KvShape(1, 1, 1), pages, torch.float32, "cpu")


def tokens(*pages: int) -> list[int]:
    """One page of equal tokens for each number."""
    return [number for number in pages for _ in range(PAGE)]


def put(tree: PrefixTree, pool: PagePool, ids: list[int], root: str = "m") -> list[int]:
    """As a finished sequence does: what is here is taken over, the rest is new."""
    found = tree.match(root, ids)
    pages = found + pool.take(len(ids) // PAGE - len(found))
    tree.insert(root, ids, pages)
    pool.drop(pages)
    return pages


def test_the_longest_beginning_is_found() -> None:
    pool = pool_of(10)
    tree = PrefixTree(pool)
    pages = put(tree, pool, tokens(1, 2, 3))
    assert tree.resident("m", [*tokens(1, 2), 9]) == 2 * PAGE
    assert tree.match("m", [*tokens(1, 2), 9]) == pages[:2]
    assert tree.match("m", tokens(2, 1)) == []
    assert tree.match("m", tokens(1)[:-1]) == [], "whole pages only"
    assert tree.match("other", tokens(1, 2, 3)) == [], "another model or policy finds nothing"


def test_what_is_here_already_is_not_kept_twice() -> None:
    pool = pool_of(10)
    tree = PrefixTree(pool)
    first = put(tree, pool, tokens(1, 2))
    own = pool.take(2)
    assert tree.insert("m", tokens(1, 2), own) == 0
    pool.drop(own)
    assert tree.match("m", tokens(1, 2)) == first and pool.free == 8


def test_a_page_of_a_chunk_is_found_by_the_whole_chunk() -> None:
    pool, grid = pool_of(10), 2 * PAGE
    tree = PrefixTree(pool)
    pages = pool.take(5)
    assert tree.insert("m", tokens(1, 2, 3), pages[:3], grid) == 2, "whole chunks"
    assert tree.insert("m", tokens(1, 4), pages[3:], grid) == 2, "the same first page, but not the same chunk"
    assert tree.match("m", tokens(1, 2, 3), grid) == pages[:2] and tree.match("m", tokens(1, 4), grid) == pages[3:]
    assert tree.match("m", tokens(1, 5), grid) == [] and tree.resident("m", tokens(1, 4, 4), grid) == grid
    for held in (pages, pages[:2], pages[3:]):
        pool.drop(held)
    assert tree.evict(1) == 1
    assert sorted(tree.resident("m", tokens(1, last), grid) for last in (2, 4)) == [0, grid]


def test_the_least_recently_used_leaves_go_first_and_used_ones_stay() -> None:
    pool = pool_of(10)
    tree = PrefixTree(pool)
    put(tree, pool, tokens(1, 2))
    put(tree, pool, tokens(1, 3))
    put(tree, pool, tokens(4))
    held = tree.match("m", tokens(4))
    assert tree.evictable() == 3
    assert tree.evict(1) == 1
    assert tree.resident("m", tokens(1, 2)) == PAGE and tree.resident("m", tokens(1, 3)) == 2 * PAGE
    assert tree.evict(9) == 2 and len(tree) == 1
    pool.drop(held)
    assert tree.evict(9) == 1 and pool.free == 10


@pytest.mark.parametrize("seed", range(3))
def test_against_a_list_of_beginnings(seed: int) -> None:
    draw = random.Random(seed)
    pool = pool_of(24)
    tree = PrefixTree(pool)
    known: set[tuple[int, ...]] = set()
    for _ in range(400):
        wanted = tuple(draw.choices((1, 2, 3), k=draw.randint(1, 5)))
        longest = max((n for n in range(len(wanted) + 1) if wanted[:n] in known or n == 0), default=0)
        assert tree.resident("m", tokens(*wanted)) == longest * PAGE
        if pool.free >= len(wanted) - longest and draw.random() < 0.7:
            put(tree, pool, tokens(*wanted))
            known |= {wanted[:n] for n in range(1, len(wanted) + 1)}
        else:
            tree.evict(draw.randint(1, 6))
            known = {entry for entry in known if tree.resident("m", tokens(*entry)) == len(entry) * PAGE}
        assert len(tree) == len(known) == 24 - pool.free == tree.evictable()


def test_a_page_under_which_others_are_used_can_not_be_had() -> None:
    pool = pool_of(10)
    tree = PrefixTree(pool)
    first = put(tree, pool, tokens(1))
    own = pool.take(2)  # read by a sequence that did not find the first page in time
    tree.insert("m", tokens(1, 2), own)
    assert tree.match("m", tokens(1)) == first
    pool.drop(first)
    assert tree.evictable() == 0 and tree.evict(5) == 0, "its child is still used"
    pool.drop(own)
    assert tree.evictable() == 2 and tree.evict(5) == 2
    assert pool.free == 10

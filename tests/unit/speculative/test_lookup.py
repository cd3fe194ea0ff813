"""Guesses are what followed the same tokens before: the latest of the places that agree longest."""

import random

from turnout.engines.speculative.lookup import LONGEST, PLACES, Lookup


def proposed(ids: list[int], most: int = 4) -> tuple[list[int], int]:
    """The first way on."""
    return next(iter(Lookup(ids, 0).propose(most)), ([], 0))


def test_what_followed_the_same_words_is_proposed() -> None:
    assert proposed([1, 2, 3, 4, 5, 6, 7, 2, 3]) == ([4, 5, 6, 7], 2)


def test_the_longest_agreement_counts_before_the_latest_place() -> None:
    assert proposed([9, 2, 3, 40, 8, 3, 50, 9, 2, 3], 1) == ([40], 3)
    assert proposed([3, 40, 8, 3, 50, 8, 3], 1) == ([50], 2), "of two that agree alike the later one"


def test_a_new_token_proposes_nothing() -> None:
    for ids in ([], [1], [1, 2, 3]):
        assert proposed(ids) == ([], 0)
    assert proposed([1, 1], most=0) == ([], 0)


def test_what_repeats_itself_is_proposed_on() -> None:
    assert proposed([5, 6, 5, 6], 5) == ([5, 6, 5, 6, 5], 2)
    assert proposed([7, 7], 3) == ([7, 7, 7], 1)


def test_what_was_written_counts_as_what_was_read() -> None:
    lookup = Lookup([1, 2, 3], 3)
    for token in (8, 9, 8):
        lookup.add(token)
    assert lookup.propose(2) == [([9, 8], 1)]


def test_other_ways_on_come_after_it_those_that_agree_longer_before_those_that_came_later() -> None:
    ids = [1, 2, 30, 9, 1, 2, 40, 9, 2, 50, 9, 2, 50, 1, 2]
    assert Lookup(ids, 0).propose(1, 4) == [([40], 2), ([30], 2), ([50], 1)]
    assert Lookup(ids, 0).propose(1, 2) == [([40], 2), ([30], 2)]
    assert Lookup(ids, 0).propose(3, 4)[2:] == [([50, 1, 2], 1), ([50, 9, 2], 1)], "they differ further on"


def test_of_a_common_word_only_the_latest_places_are_looked_at() -> None:
    ids = [token for number in range(1000) for token in (1, 2 + number)]
    found = Lookup([*ids, 1], 0).propose(1, 2000)
    assert [tokens for tokens, _ in found] == [[1001 - number] for number in range(PLACES)]


def test_it_finds_what_a_plain_search_finds() -> None:
    source = random.Random(0)
    for _ in range(200):
        ids = source.choices(range(4), k=source.randrange(2, 60))
        best = (0, -1)
        for end in range(1, len(ids)):  # a place is what stands before `end`
            same = 0
            while same < min(LONGEST, end) and ids[end - 1 - same] == ids[-1 - same]:
                same += 1
            best = max(best, (same, end))
        found, matched = proposed(ids, 1)
        assert matched == best[0]
        assert found == ([ids[best[1]]] if matched else [])

"""Room for functions, blocks of lines, and the choice among them."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.compression.code_cuts import MOST_BLOCKS, MOST_ROOM, boundaries, knapsack, rooms, runs

ITEMS = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 12)), max_size=8)


@given(ITEMS, st.integers(0, 40))
def test_no_other_choice_is_worth_more(items: list[tuple[float, int]], room: int) -> None:
    values, weights = [value for value, _ in items], [weight for _, weight in items]
    chosen = knapsack(values, weights, room)
    assert chosen == sorted(set(chosen))
    assert sum(weights[at] for at in chosen) <= room
    best = max(
        sum(values[at] for at in some)
        for size in range(len(items) + 1)
        for some in combinations(range(len(items)), size)
        if sum(weights[at] for at in some) <= room
    )
    assert sum(values[at] for at in chosen) == pytest.approx(best)


def test_of_very_many_the_best_by_weight_go_first() -> None:
    many = MOST_BLOCKS + 20
    values, weights = [1.0] * many, [10] * many
    values[7], values[100], weights[100] = 5.0, 5.0, 100
    assert knapsack(values, weights, 25) == [0, 7]
    assert len(knapsack(values, weights, 10 * many)) == many - 1
    assert knapsack([1.0, 3.0, 2.0], [MOST_ROOM, MOST_ROOM, 10], MOST_ROOM + 11) == [1, 2]
    assert knapsack([], [], 0) == []


def test_rooms_follow_the_gains_and_meet_the_total() -> None:
    assert rooms([0.0, 1.0], [100, 100], 100) == [25, 75]
    assert rooms([2.0, 2.0], [100, 100], 100) == [50, 50]
    # The better one is whole at once, and the other gets what that leaves.
    assert rooms([0.0, 1.0], [100, 100], 180) == [80, 100]
    assert rooms([0.0, 1.0], [100, 100], 200) == [100, 100]
    assert rooms([0.0, 1.0], [100, 100], 0) == [0, 0]
    assert rooms([], [], 10) == []


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 300)), min_size=1, max_size=10), st.integers(0, 2000))
def test_rooms_are_never_too_large_and_hardly_too_small(items: list[tuple[float, int]], total: int) -> None:
    tokens = [size for _, size in items]
    found = rooms([gain for gain, _ in items], tokens, total)
    assert all(0 <= room <= size for room, size in zip(found, tokens, strict=True))
    wanted = min(total, sum(tokens))
    assert wanted - len(items) <= sum(found) <= wanted


def test_a_block_begins_where_the_perplexity_jumps() -> None:
    assert boundaries([1, 1, 9, 1, 1, 9, 1]) == [0, 2, 5]
    assert boundaries([1, 1, 1.2, 1, 1]) == [0]
    assert boundaries([3.0]) == [0]
    assert boundaries([]) == []


def test_a_block_over_the_room_is_cut_again() -> None:
    lines = [1.0, 1, 9, 1, 1, 9, 1]
    assert runs(lines, [10] * 7, 100) == [(0, 2), (2, 5), (5, 7)]
    assert runs(lines, [10] * 7, 20) == [(0, 2), (2, 3), (3, 5), (5, 7)]
    assert runs(lines, [10] * 7, 0) == [(at, at + 1) for at in range(7)]
    assert runs([], [], 5) == []


@given(st.lists(st.tuples(st.floats(1, 1e6), st.integers(0, 50)), max_size=40), st.integers(0, 100))
def test_blocks_tile_the_lines_and_fit_where_they_can(lines: list[tuple[float, int]], room: int) -> None:
    tokens = [size for _, size in lines]
    at = 0
    for first, last in runs([value for value, _ in lines], tokens, room):
        assert first == at < last
        assert last - first == 1 or sum(tokens[first:last]) <= room
        at = last
    assert at == len(lines)

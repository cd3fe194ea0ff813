"""The page pool."""

import pytest

torch = pytest.importorskip("torch")

from turnout.engines.paged.pages import PAGE, KvShape, PagePool, pages_for  # noqa: E402
from turnout.engines.paged.plan import Run, plan, runs_of  # noqa: E402
from turnout.errors import MemoryLimitError  # noqa: E402


@pytest.fixture
def pool() -> PagePool:
    return PagePool(KvShape(1, 2, 4), 16, torch.float32, "cpu")


def test_bytes_are_those_of_the_tensors(pool: PagePool) -> None:
    assert pool.page_bytes * pool.size == sum(tensor.nbytes for tensor in (*pool.keys, *pool.values))
    assert [pages_for(tokens) for tokens in (0, 1, PAGE, PAGE + 1)] == [0, 1, 1, 2]


def test_pages_follow_one_another_where_they_can(pool: PagePool) -> None:
    first = pool.take(3)
    assert first == [0, 1, 2]
    assert pool.take(2, after=2) == [3, 4]
    assert pool.take(2, after=2) == [5, 6]
    pool.drop([1, 2])
    assert pool.take(2) == [1, 2], "the smallest run that is long enough"
    pool.drop([1, 2])
    assert pool.take(4) == [7, 8, 9, 10]


def test_pages_are_scattered_where_there_is_no_run(pool: PagePool) -> None:
    pool.take(16)
    pool.drop([1, 2, 3, 6, 9, 10])
    assert pool.take(5) == [1, 2, 3, 9, 10]
    assert pool.free == 1


def test_too_many_are_refused_and_none_is_taken(pool: PagePool) -> None:
    pool.take(10)
    with pytest.raises(MemoryLimitError, match="7 pages of 64 tokens are needed, 6 of 16 are free"):
        pool.take(7)
    assert pool.free == 6


def test_a_page_is_free_when_its_last_user_drops_it(pool: PagePool) -> None:
    (page,) = pool.take(1)
    pool.share([page])
    pool.drop([page])
    assert pool.users(page) == 1 and pool.free == 15
    pool.drop([page])
    assert pool.free == 16


def test_runs_are_as_few_as_there_can_be() -> None:
    assert runs_of([4, 5, 6, 2], 3 * PAGE + 7) == (Run(4 * PAGE, 3 * PAGE), Run(2 * PAGE, 7))
    assert runs_of([4, 5], PAGE) == (Run(4 * PAGE, PAGE),)
    assert runs_of([], 0) == ()


def test_a_plan_says_where_new_tokens_go(pool: PagePool) -> None:
    one = plan(pool, [([3, 4], PAGE - 1, 3, None)], "cpu")
    assert one.slots == slice(4 * PAGE - 1, 4 * PAGE + 2)
    assert one.pieces[0].runs == (Run(3 * PAGE, PAGE - 1),)
    two = plan(pool, [([3, 9], PAGE - 1, 2, None), ([3, 5], PAGE, 1, None)], "cpu")
    assert two.slots.tolist() == [4 * PAGE - 1, 9 * PAGE, 5 * PAGE]
    assert two.pieces[1].runs == (Run(3 * PAGE, PAGE), Run(5 * PAGE, 1)), "a single row sees itself in the pages"


def test_only_long_runs_of_single_rows_are_read_together(pool: PagePool) -> None:
    long = [0, 1, 2, 3]
    feeds = [([*long, 8], 4 * PAGE, 1, None), ([*long, 10], 4 * PAGE, 1, None), ([6], 3, 1, None)]
    found = plan(pool, feeds, "cpu").together
    assert found.shared == ((Run(0, 4 * PAGE), [0, 1]),) and found.places == [0, 1, 2]
    assert (found.mask == 0).flatten(1).sum(1).tolist() == [1, 1, 4] and found.rows[0] == 8 * PAGE * pool.shape.heads
    assert plan(pool, [([0, 8], PAGE, 1, None), ([0, 10], PAGE, 1, None)], "cpu").together.shared == ()
    assert plan(pool, [*feeds, ([*long, 12], 4 * PAGE, 2, None)], "cpu").together is None
    assert plan(pool, feeds[:1], "cpu").together is None

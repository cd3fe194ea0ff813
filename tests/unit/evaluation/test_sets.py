"""Which questions a run asks: samples are stratified and repeat, committed lists are what the data gives."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.evaluation.items import Item, Malformed, read_items
from turnout.router.evaluation.sets import load_set, pick, select, set_names

ROOT = Path(__file__).parents[3]
QUESTIONS = ROOT.parent / "shared/data/dev/questions"


def item(name: str, dataset: str = "d", task: str = "location", core: bool = False) -> Item:
    return Item(name, dataset, task, "single-hop", "Q?", ("a",), None, "extractive", ("x",), None, 0, core)


def many(dataset: str, **counts: int) -> list[Item]:
    return [item(f"{dataset}-{task}-{n:02}", dataset, task) for task, count in counts.items() for n in range(count)]


def test_a_sample_is_so_many_of_each_dataset_sorted_by_dataset_and_id() -> None:
    items = many("b", location=9) + many("a", location=2, reasoning=9)
    chosen = select(items, 4, seed=0)
    assert Counter(i.dataset for i in chosen) == {"a": 4, "b": 4}
    assert [(i.dataset, i.id) for i in chosen] == sorted((i.dataset, i.id) for i in chosen)


def test_tasks_take_turns_until_they_run_out() -> None:
    items = many("d", location=20, reasoning=20, comparison=1)
    # Seven in turns of three, of which comparison can fill one: 3 + 2 + 2.
    assert Counter(i.task for i in select(items, 7, seed=3)) == {"location": 3, "reasoning": 3, "comparison": 1}


def test_core_questions_come_first() -> None:
    items = [
        *many("d", location=10, reasoning=10),
        *(item(f"core-{n}", task="comparison", core=True) for n in range(3)),
    ]
    assert {i.id for i in select(items, 2, seed=0)} < {"core-0", "core-1", "core-2"}
    chosen = select(items, 7, seed=0)
    assert Counter(i.task for i in chosen) == {"comparison": 3, "location": 2, "reasoning": 2}


def test_a_sample_depends_on_the_seed_and_not_on_the_order_of_the_files() -> None:
    items = many("d", location=30, reasoning=30)
    assert select(items, 10, seed=1) == select(items[::-1], 10, seed=1)
    assert select(items, 10, seed=1) != select(items, 10, seed=2)


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    items = many("d", location=30, reasoning=30)
    assert {i.id for i in select(items, 5, seed=1)} < {i.id for i in select(items, 10, seed=1)}


def test_no_one_task_comes_first_in_every_dataset() -> None:
    items = [i for n in range(12) for i in many(f"d{n}", location=5, reasoning=5)]
    assert {i.task for i in select(items, 1, seed=1)} == {"location", "reasoning"}


def test_without_a_limit_all_are_taken() -> None:
    items = many("b", location=3) + many("a", reasoning=3)
    assert select(items, None, seed=0) == select(items, 100, seed=0) == items[3:] + items[:3]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a limit of 0"):
        select([], 0, seed=0)


def test_a_list_is_picked_in_its_own_order() -> None:
    items = many("d", location=3)
    ids = [items[2].id, items[0].id]
    assert [i.id for i in pick(items, ids)] == ids


def test_ids_that_are_not_there_are_counted_and_named() -> None:
    with pytest.raises(ConfigurationError, match=r"4 of 5 questions .*: w, x, y, \.\.\.") as error:
        pick([item("a")], ["w", "x", "a", "y", "z"])
    assert error.value.hint


def test_a_list_of_ones_own_is_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# mine\nq2\n\n  q1 \nq2\n")
    assert load_set(str(file)) == ("q2", "q1")


def test_a_list_without_ids_or_with_other_bytes_is_refused(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("# nothing\n")
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="holds no ids"):
        load_set(empty)
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_set(binary)


def test_an_unknown_list_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'dev300'") as error:
        load_set("dev30")
    assert "dev150, dev300, lara90" in error.value.hint


def test_the_committed_lists_have_the_size_that_their_names_say() -> None:
    assert set_names() == ("dev150", "dev300", "lara90")
    assert [len(load_set(name)) for name in set_names()] == [150, 300, 90]
    assert set(load_set("dev150")) < set(load_set("dev300"))


def test_the_package_reads_the_committed_lists_through_a_relative_link() -> None:
    link = ROOT / "src/turnout/question_sets"
    assert link.readlink() == Path("../../benchmarks/sets")
    assert link.resolve() == ROOT / "benchmarks/sets"


@pytest.mark.shared
def test_the_committed_lists_are_what_the_data_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    written = importlib.import_module("make_sets").contents()
    assert {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/sets").iterdir()} == written


@pytest.mark.shared
def test_dev150_is_half_of_every_kind_of_dev300() -> None:
    bad: list[Malformed] = []
    items = read_items([QUESTIONS], bad.append)
    assert bad == []
    half, whole = ([(i.dataset, i.task, i.answer_type) for i in pick(items, load_set(n))] for n in ("dev150", "dev300"))
    for kind, count in Counter(whole).items():
        assert abs(Counter(half)[kind] - count / 2) <= 0.5, kind
    assert set(Counter(dataset for dataset, _, _ in half).values()) == {15}
    assert all(i.core and i.dataset == "lara" for i in pick(items, load_set("lara90")))

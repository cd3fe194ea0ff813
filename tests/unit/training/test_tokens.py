"""Lessons as token ids, and how they are batched."""

from pathlib import Path

import numpy as np
import pytest

from turnout.errors import ConfigurationError
from turnout.training.generation import _batches
from turnout.training.recipe import Recipe
from turnout.training.tokens import Pair, TokenisedSheets, batches

SHEETS: list[list[Pair]] = [
    [([5, 6, 7, 8], [9, 2]), ([5, 6, 4, 4, 3], [2]), ([5, 6, 7], [1, 2])],
    [([9, 9], [2])],
    [([1, 2, 3, 4], [])],
]


def test_a_text_is_kept_once_and_lessons_branch_off_it() -> None:
    sheet = TokenisedSheets.of(SHEETS)[0]
    assert sheet.ids.tolist() == [5, 6, 7, 8, 9, 2, 4, 4, 3, 2, 7, 1, 2]
    assert sheet.branches.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert sheet.positions.tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4]
    assert np.flatnonzero(sheet.learnt).tolist() == [4, 5, 9, 11, 12]


def test_equal_prompts_keep_a_token_of_their_own_before_what_is_learnt() -> None:
    sheet = TokenisedSheets.of([[([1, 2], [3]), ([1, 2], [4])]])[0]
    assert sheet.ids.tolist() == [1, 2, 3, 2, 4]
    assert sheet.learnt.tolist() == [False, False, True, False, True]


def test_sheets_come_back_from_their_file(tmp_path: Path) -> None:
    made = TokenisedSheets.of(SHEETS)
    made.save(tmp_path / "lessons.npz")
    found = TokenisedSheets.load(tmp_path / "lessons.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["lessons.npz"]
    assert len(found) == 3 and found.lessons == 5
    for sheet, again in zip(made, found, strict=True):
        assert sheet.ids.tolist() == again.ids.tolist() and sheet.branches.tolist() == again.branches.tolist()
        assert sheet.learnt.tolist() == again.learnt.tolist()
    assert [sheet.prompt for sheet in found][1:] == [[9, 9], [1, 2, 3, 4]]


def test_two_sets_are_joined() -> None:
    both = TokenisedSheets.of(SHEETS) + TokenisedSheets.of([[([4], [3, 2])]])
    assert len(both) == 4 and both.lessons == 6
    assert both[3].ids.tolist() == [4, 3, 2]
    assert both[1].ids.tolist() == [9, 9, 2]
    assert len(both + TokenisedSheets.of([])) == 4


@pytest.mark.parametrize("tokens", [200, 1000, 5000])
def test_batches_hold_every_sheet_once_within_their_tokens(tokens: int) -> None:
    lengths = np.random.default_rng(0).integers(10, 200, 3000)
    made = list(batches(lengths, tokens, seed=3))
    assert sorted(index for batch in made for index in batch) == list(range(3000))
    assert all(max(lengths[batch]) * len(batch) <= tokens for batch in made)
    assert made == list(batches(lengths, tokens, seed=3)) != list(batches(lengths, tokens, seed=4))
    padded = sum(max(lengths[batch]) * len(batch) for batch in made)
    assert padded < 1.15 * lengths.sum()


def test_generation_batches_by_tokens() -> None:
    assert list(_batches([3, 1, 2, 9], 6)) == [[1, 2], [0], [3]]


def test_a_recipe_is_checked() -> None:
    for wrong, why in (
        ({"among": 0.9}, "over 1 together"),
        ({"left_out": 1.5}, "left_out is 1.5, not a share"),
        ({"rank": 0}, "rank is 0, not above 0"),
        ({"batch_tokens": 100}, "below max_tokens"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            Recipe(**wrong)

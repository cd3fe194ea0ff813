"""Grading: what passes for an answer and what does not."""

import pytest

from turnout.router.calibration.grading import grade


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("12", True),
        ("The doctor bought 12 lamps.", True),
        ("Twelve lamps, and no one bought more.", True),
        ('12\nQuote: "The physician purchased 12 lanterns. The cook purchased 9 boats."', True),
        ("9\nQuote: The physician purchased 12 lanterns.", False),
        ("112", False),
        ("1.12", False),
        ("12 or 15", False),
        ("12 or 22", False),
        ("twelve or fifteen", False),
        ("one hundred and twelve", False),
        ("Not in the text.", False),
        ("", False),
    ],
)
def test_a_number_is_right_alone_or_in_a_sentence(answer: str, right: bool) -> None:
    assert grade(answer, "needle", ("12",), ()) == (right, float(right))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("41", True),
        ("12 + 9 + 20 = 41", True),
        ("12+9+20 = 40. No, 41", False),
        ("35, 36, 37, 38, 39, 40, 41, 42, 43", False),
        ("12, 9 and 20", False),
    ],
)
def test_a_sum_may_stand_beside_what_it_adds_up_and_nothing_else(answer: str, right: bool) -> None:
    assert grade(answer, "aggregation", ("41",), ("12", "9", "20"))[0] is right


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("12, 9, 20", 1),
        ("12, 9 and twenty", 1),
        ("The doctor bought 12, the lawyer 9 and the writer 20.", 1),
        ("The writer 20, the physician 12, the attorney 9", 1),
        ("20 by the writer, 12 by the doctor, 9 by the lawyer", 1),
        ("The attorney, the physician and the author: 9, 12 and 20", 1),
        ("Doctor 12, lawyer 9, writer 20. So the doctor bought 12.", 1),
        ("The physician 9, the attorney 20 and the author 12", 0),
        ("9, 20, 12", 0),
        ("12, 20, 9", 1 / 3),
        ("12 and 9", 2 / 3),
        ("The doctor 12, the lawyer is not named, the writer 20", 2 / 3),
        ("12 by the doctor, by the lawyer, 20 by the writer", 2 / 3),
        ("12", 1 / 3),
        # Four numbers where three were asked, two of six: what is too much lowers the share.
        ("12, 9, 20 and 15", 3 / 4),
        ("The doctor 12, the lawyer 9, the writer 20, 41 in all", 3 / 4),
        ("3, 9, 20, 4, 5, 12", 2 / 6),
        ("The doctor 12, the doctor 13, the lawyer 9", 1 / 3),
        ("Not in the text.", 0),
    ],
)
def test_several_numbers_stand_in_the_order_asked_or_with_their_buyers(answer: str, share: float) -> None:
    found = grade(answer, "multi", ("12", "9", "20"), ("physician", "attorney", "author"))
    assert found == (share == 1, pytest.approx(share))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("The doctor", "physician"),
        ("The physician bought more lamps than the lawyer.", "physician"),
        ("The lawyer bought more than the doctor.", "attorney"),
        ("The doctor bought fewer lamps than the lawyer", "attorney"),
        ("The lawyer bought fewer lamps than the doctor", "physician"),
        ("The lawyer bought fewer.", "physician"),
        ("The lawyer bought 9 lamps, fewer than the doctor.", "physician"),
        ("The doctor, not the lawyer.", "physician"),
        ("Between the doctor and the lawyer, the doctor bought more.", "physician"),
        ("Not the doctor.", None),
        ("The doctor did not.", None),
        ("The doctor didn't.", None),
        ("The doctor or the lawyer", None),
        ("The doctor. The lawyer.", None),
        ("The doctor is not in the text.", None),
        ("The merchant", None),
        ("Not in the text.", None),
    ],
)
def test_a_comparison_is_graded_by_who_is_said_to_have_more(answer: str, says: str | None) -> None:
    for more, less in (("physician", "attorney"), ("attorney", "physician")):
        assert grade(answer, "comparison", (more,), (less,))[0] is (says == more)

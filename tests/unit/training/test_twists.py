"""Questions bent so that their text does not answer them."""

import random

import pytest

from turnout.training.twists import names_in, twisted

TEXT = "In 1845 the mill burnt. Then Anna Berg sold it to Peter of Lund for 300 crowns. It was the first of its kind."


def bent(question: str, names: tuple[str, ...] = ()) -> set[str | None]:
    return {twisted(question, TEXT, names, random.Random(seed)) for seed in range(20)}


def test_names_are_runs_of_capitals_inside_a_sentence() -> None:
    assert list(names_in(TEXT)) == ["Anna Berg", "Peter of Lund"]


def test_a_name_gives_way_to_another_one_of_the_text() -> None:
    names = tuple(names_in(TEXT))
    assert bent("What did Anna Berg sell?", names) == {"What did Peter of Lund sell?"}
    assert bent("What did Annabel Bergson sell?", ("Anna Berg",)) == {None}, "two spellings of one name"


@pytest.mark.parametrize("question", ["What burnt in 1845?", "Who paid 300 crowns?"])
def test_a_number_gives_way_to_one_that_the_text_does_not_have(question: str) -> None:
    for found in bent(question):
        assert found is not None and found != question
        (number,) = {word.strip("?") for word in found.split()} - {word.strip("?") for word in question.split()}
        assert number.isdecimal() and number not in TEXT


def test_an_opposite_is_taken_where_the_text_does_not_have_it() -> None:
    assert bent("Which was the first of its kind?") == {"Which was the last of its kind?"}
    assert twisted("Which was the first?", "The first and the last.", (), random.Random(1)) is None


def test_a_question_without_anything_to_change_stays() -> None:
    assert bent("Why did it burn?") == {None}

import pytest

from turnout.documents import Span
from turnout.router.check import is_answer, is_grounded, is_refusal
from turnout.router.visible import Visible
from turnout.types import Part, Question

READ = [Part("The lease began on 3 May 2021. Rent is 1,200 euros, paid by Acme.", Span("d", 0, 66))]


@pytest.mark.parametrize(
    "text",
    [
        "Not in the text.",
        "not in the text",
        "The text does not mention a guarantor.",
        "The document doesn't say who signed.",
        "There is no information about this.",
        "I cannot find this in the passage.",
        "",
        "  \n",
        "Sorry, the passage does not provide this.",
        "The answer is not given in the text.",
    ],
)
def test_refusals_in_any_words(text: str) -> None:
    assert is_refusal(text)


def test_words_of_the_quoted_sentence_are_an_answer_even_where_they_read_like_a_refusal() -> None:
    part = Part("Exit code 3 says that the answer is not in the text.", Span("d", 0, 52))
    asked = Question("What does exit code 3 say?", "What does exit code 3 say?", "location")
    assert not is_answer("Not in the text.", asked, [part])
    assert is_answer("not in the text", asked, [part], [part.text])
    assert not is_answer("The text does not say.", asked, [part], [part.text])
    assert not is_answer("", asked, [part], [part.text])


@pytest.mark.parametrize(
    "text",
    [
        "Acme.",
        "Not before May 2021.",
        "No.",
        "The text message was sent on Monday.",
        "Noting the delay, he left.",
        "The contract does not allow assignment.",
        "The information is not confidential after 2020.",
        "The document does not give the landlord a right of entry.",
        "Not in force before May.",
    ],
)
def test_answers_that_only_look_like_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("answer", "task", "grounded"),
    [
        ("3 May 2021", "location", True),
        ("1,200 euros", "location", True),
        ("1200 euros", "location", True),
        ("2 euros", "location", False),
        ("three May", "location", True),
        ("In 1987", "location", False),
        ("Acme", "location", True),
        ("Napoleon Bonaparte", "location", False),
        ("Yes", "location", True),
        ("2,400 euros in two months", "reasoning", True),
    ],
)
def test_an_answer_must_be_able_to_stand_in_the_text(answer: str, task: str, grounded: bool) -> None:
    assert is_grounded(answer, "Who pays what, and when?", task, READ) is grounded


@pytest.mark.parametrize(
    ("question", "answer", "grounded"),
    [
        ("Who is the guarantor of the lease?", "The guarantor of the lease is the guarantor of the lease.", False),
        ("Is the lease signed?", "The lease is signed.", True),
        ("Did Acme or Beta pay the rent?", "Acme paid the rent.", True),
        ("Who paid the rent?", "Acme paid the rent.", True),
    ],
)
def test_an_answer_that_only_repeats_the_question_says_nothing(question: str, answer: str, grounded: bool) -> None:
    assert is_grounded(answer, question, "location", READ) is grounded


def shown(*tokens: str) -> list[str]:
    growing = Visible()
    return [delta for token in tokens for delta in growing.push(token)] + list(growing.finish(is_refusal(growing.raw)))


def test_text_that_may_become_the_refusal_is_held_back() -> None:
    assert shown("Not", " in", " the", " text", ".") == []
    assert shown("Not", " in", " force", " yet") == ["Not in force", " yet"]
    assert shown("No", "t") == ["Not"]
    assert shown("Ac", "me") == ["Ac", "me"]


def test_quote_lines_are_never_shown_and_nothing_else_is_lost() -> None:
    assert shown("Three years.", "\n", "Quo", "te: ", '"for three years"', "\n") == ["Three years."]
    assert shown("Yes", "\nQuiet", " hours") == ["Yes", "\nQuiet", " hours"]
    assert shown('Quote: "for three years"\n', "Three", " years") == ["Three", " years"]
    assert shown("One\n", "Evidence: x y\nTwo") == ["One", "\nTwo"]
    assert shown("ends with q", "\nq") == ["ends with q", "\nq"]
    assert shown("Three.\n", "Quote:\n", '"for three years"') == ["Three."]
    assert shown("Three.\n", "**Quote:** ", '"for three years"') == ["Three."]
    assert shown('Quote: "for three years"') == ["for three years"]

import pytest

from turnout.router.questions import HISTORY_TOKENS, read, task_of
from turnout.types import Message


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("question", "task"),
    [
        ("Who signed the agreement?", "location"),
        ("Summarise this in three sentences", "summarisation"),
        ("What are the main points?", "summarisation"),
        ("How does the second draft differ from the first?", "comparison"),
        ("Which of the two clauses is stricter?", "comparison"),
        ("Why did the king leave?", "reasoning"),
        ("Describe the setting of the story.", "summarisation"),
        ("How did the captain describe the storm?", "location"),
        ("What is the plot of the story?", "summarisation"),
        ("When was the discussion about the treaty held?", "location"),
        ("Whose plot of land was sold?", "location"),
        ("What was the discussion about the budget?", "summarisation"),
        ("What did the committee think about the plan?", "summarisation"),
        ("What did the committee think the plan cost?", "location"),
        ("What is the significance of the bridge in the story?", "summarisation"),
        ("Who is the ferryman, and what becomes of him throughout the story?", "summarisation"),
        ("Who settled the relationship between the two towns?", "location"),
        ("Why is that?\nA. It rained.\nB. It snowed.", "choice"),
        ("Calculate the total of both invoices", "comparison"),
    ],
)
def test_task_cue(question: str, task: str) -> None:
    assert task_of(question) == task


def test_a_question_that_leans_on_the_turn_before_is_made_standalone() -> None:
    history = [Message("user", "Who is the landlord?"), Message("assistant", "Acme Ltd.")]
    assert read("And where is it registered?", history, words).standalone == (
        "Who is the landlord? And where is it registered?"
    )
    assert read("Which law governs the lease?", history, words).standalone == "Which law governs the lease?"


def test_without_history_nothing_is_put_in_front() -> None:
    assert read("And its name?", [], words).standalone == "And its name?"


def test_history_keeps_the_latest_whole_turns_and_starts_with_the_user() -> None:
    long = "word " * (HISTORY_TOKENS - 10)
    history = [
        Message("user", long),
        Message("assistant", "short answer"),
        Message("user", "next"),
        Message("assistant", "yes"),
    ]
    kept = read("And then?", history, words).history
    assert [turn.text for turn in kept] == [long, "short answer", "next", "yes"]
    history[1] = Message("assistant", "word " * 30)
    kept = read("And then?", history, words).history
    assert [turn.text for turn in kept] == ["next", "yes"]

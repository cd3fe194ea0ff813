"""The order and wording of prompts, and what in them is trusted."""

from typing import Any

import pytest
from support.tiny_models import context

from turnout.documents import Span
from turnout.engines import prompt
from turnout.types import Context, Message, Part


def user_text(given: Context, wording: prompt.PromptFormat) -> str:
    return prompt.pieces(given, wording)[-1].text


@pytest.mark.parametrize("wording", prompt.FORMATS.values(), ids=lambda wording: wording.name)
@pytest.mark.parametrize("task", ["location", "summarisation"])
def test_documents_come_before_the_question_and_the_question_is_last(wording: prompt.PromptFormat, task: str):
    text = user_text(context("the sea {question}", question="why {documents}?", task=task), wording)
    assert 0 <= text.index("the sea {question}") < text.index("why {documents}?")
    assert text.endswith("why {documents}?")


def test_only_our_own_words_are_trusted():
    given = context("doc one", "doc two", question="asked")
    given = Context(given.parts, given.question, (Message("user", "earlier"), Message("assistant", "said")))
    untrusted = {piece.text for m in prompt.pieces(given, prompt.QUOTING) for piece in m.pieces if not piece.trusted}
    assert untrusted == {"doc one", "doc two", "asked", "earlier", "said", "Title 0", "Title 1"}


def test_one_document_has_no_title_and_several_have_one_each():
    parts = tuple(Part(text, Span(doc, 0, 1), f"title of {doc}") for text, doc in [("1", "a"), ("2", "a"), ("3", "b")])
    assert "title of" not in user_text(Context(parts[:2], "q"), prompt.PLAIN)
    text = user_text(Context(parts, "q"), prompt.PLAIN)
    assert text.count("Document: title of a") == text.count("Document: title of b") == 1
    assert text.index("title of a") < text.index("1\n\n2") < text.index("title of b") < text.index("3")


def test_earlier_turns_stand_before_the_documents_as_messages():
    given = Context(context("the sea").parts, "q", (Message("user", "first"), Message("assistant", "second")))
    roles = [message.role for message in prompt.pieces(given, prompt.QUOTING)]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("wording", prompt.FORMATS.values(), ids=lambda wording: wording.name)
@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ([], ["user"]),
        (["user"], ["user"]),
        (["user", "assistant"], ["user", "assistant", "user"]),
        (["assistant"], ["user", "assistant", "user"]),
        (["user", "assistant", "user"], ["user", "assistant", "user"]),
    ],
)
def test_documents_can_stand_before_earlier_turns(wording: prompt.PromptFormat, said: list[Any], roles: list[str]):
    turns = tuple(Message(role, f"turn {number}") for number, role in enumerate(said))
    given = Context(context("the sea").parts, "q?", turns)
    messages = [m for m in prompt.pieces(given, wording, documents_first=True) if m.role != "system"]
    assert [message.role for message in messages] == roles
    text = "\n\n".join(message.text for message in messages)
    places = [text.index(part) for part in ("the sea", *(f"turn {n}" for n in range(len(said))), "Question: q?")]
    assert places == sorted(places)
    assert "\n\n\n" not in text
    if not said:
        assert text == user_text(given, wording), "nothing changes without earlier turns"


def test_sentences_are_numbered_over_all_parts_for_a_reader_that_names_them():
    given = context("It rained. The sea rose.", "Nobody came.")
    text = user_text(given, prompt.NUMBERED)
    assert "[1] It rained. [2] The sea rose." in text and "[3] Nobody came." in text
    assert text.replace("[1] ", "").replace("[2] ", "").replace("[3] ", "") == user_text(given, prompt.PLAIN)


@pytest.mark.parametrize("task", ["summarisation", "choice", prompt.CLOSED_BOOK_TASK])
def test_what_rests_on_no_one_sentence_has_no_numbers(task: str):
    assert "[1]" not in user_text(context("It rained. The sea rose.", task=task), prompt.NUMBERED)


def test_an_adapter_brings_the_wording_that_it_was_trained_with():
    assert prompt.format_for(135_000_000, "number").name == "numbered"
    assert prompt.format_for(7_000_000_000, "sentence").name == "plain"


@pytest.mark.parametrize(
    ("parameters", "name"), [(135_000_000, "plain"), (1_500_000_000, "quoting"), (None, "quoting")]
)
def test_small_models_get_the_plain_format(parameters: int | None, name: str):
    assert prompt.format_for(parameters).name == name


def test_a_summary_is_asked_for_as_such_and_a_refusal_word_for_word():
    assert "ummar" in user_text(context(task="summarisation"), prompt.PLAIN)
    assert "ummar" not in user_text(context(task="location"), prompt.PLAIN)
    assert prompt.REFUSAL in user_text(context(), prompt.QUOTING)


@pytest.mark.parametrize("wording", [prompt.PLAIN, prompt.QUOTING])
def test_where_there_are_options_one_of_them_is_asked_for_and_no_refusal(wording: prompt.PromptFormat):
    text = user_text(context(task="choice"), wording)
    assert "one of the options" in text and prompt.REFUSAL not in text

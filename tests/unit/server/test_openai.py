"""The server through OpenAI's own client."""

import base64
import json

import openai
import pytest
from openai import OpenAI
from support.library import BOOK
from support.served import Served

from turnout.engines.fake import FakeEngine

QUESTION = "Who repaired the lighthouse lamp?"
ASK = [{"role": "user", "content": QUESTION}]
INLINE = {"documents": [{"text": "Per Holm built the pier of Sark in 1901.", "title": "pier.md"}]}


def complete(client: OpenAI, messages=ASK, **options):
    return client.chat.completions.create(model="turnout", messages=messages, **options)


def test_a_question_is_answered_from_the_collection_of_its_key(client: OpenAI) -> None:
    reply = complete(client)
    choice, ours = reply.choices[0], reply.turnout
    assert "Marta Lindqvist" in choice.message.content
    assert (choice.finish_reason, choice.message.role, reply.model) == ("stop", "assistant", "turnout")
    assert ours["citations"][0]["title"] == "book.md"
    assert ours["text"] == choice.message.content
    assert reply.id == f"chatcmpl-{ours['id']}"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens == ours["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("over", [{}, INLINE])
@pytest.mark.parametrize("question", [QUESTION, "Who built the pier?", "What is the capital of Peru?"])
def test_a_stream_equals_the_reply_in_text_usage_and_citations(client: OpenAI, question: str, over: dict) -> None:
    asked = {"messages": [{"role": "user", "content": question}], "extra_body": {"turnout": over}}
    whole = complete(client, **asked)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}, **asked))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].choices == []
    ends = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert [end.choices[0].finish_reason for end in ends] == [whole.choices[0].finish_reason]
    for name in ("citations", "text", "abstained", "nearest"):
        assert ends[0].turnout[name] == whole.turnout[name]
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_has_none(client: OpenAI) -> None:
    assert all(chunk.usage is None and chunk.choices for chunk in complete(client, stream=True))


def test_documents_come_inline_as_files_or_by_id(client: OpenAI, server: Served) -> None:
    with server.http() as http:
        listed = http.get("/v1/documents").json()["data"]
    book = next(each["id"] for each in listed if each["title"] == "book.md")
    page = base64.b64encode(b"<html><p>Per Holm built the pier.</p></html>").decode()
    for given, word in (
        (INLINE["documents"][0], "Per Holm"),
        ({"id": book}, "Marta"),
        ({"name": "p.html", "data": page}, "Per Holm"),
    ):
        asked = "Who repaired the lighthouse lamp?" if word == "Marta" else "Who built the pier?"
        over = {"turnout": {"documents": [given]}}
        reply = complete(client, [{"role": "user", "content": asked}], extra_body=over)
        assert word in reply.choices[0].message.content


def test_earlier_turns_and_instructions_reach_the_model(client: OpenAI, engine: FakeEngine) -> None:
    turns = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": [{"type": "text", "text": "Who was Marta?"}]},
        {"role": "assistant", "content": "A mechanic."},
        *ASK,
    ]
    complete(client, turns)
    assert [(turn.role, turn.text) for turn in engine.contexts[-1].history] == [
        ("system", "Answer in French."),
        ("user", "Who was Marta?"),
        ("assistant", "A mechanic."),
    ]
    assert engine.contexts[-1].question == QUESTION


def test_decoding_and_budget_reach_the_engine(client: OpenAI, engine: FakeEngine) -> None:
    ours = {"strategy": "rag", "budget": {"max_prompt_tokens": 3000, "optimize": "latency"}}
    reply = complete(
        client, max_completion_tokens=3, temperature=0.5, seed=7, stop=["\n"], extra_body={"turnout": ours}
    )
    assert reply.choices[0].finish_reason == "length"
    given = engine.params[-1]
    assert (given.max_tokens, given.temperature, given.seed, given.stop) == (3, 0.5, 7, ("\n",))
    assert reply.turnout["decision"]["chosen"] == "rag"
    assert reply.turnout["budget"]["limits"] == {"max_prompt_tokens": 3000}


REFUSED = {
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
        "response_format",
    ),
    "an object": ({"response_format": {"type": "json_object"}}, "response_format"),
    "two answers": ({"n": 2}, "n"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "chances": ({"logprobs": True}, "logprobs"),
    "top_p": ({"top_p": 0.5}, "top_p"),
    "an unknown field": ({"extra_body": {"temprature": 1}}, "temprature"),
    "an unknown field of ours": ({"extra_body": {"turnout": {"colection": "x"}}}, "turnout.colection"),
    "an unknown limit": ({"extra_body": {"turnout": {"budget": {"max_s": 1}}}}, "turnout.budget.max_s"),
    "no documents": ({"extra_body": {"turnout": {"documents": []}}}, "turnout.documents"),
    "a temperature": ({"temperature": 3}, "temperature"),
    "no question": ({"messages": [*ASK, {"role": "assistant", "content": "x"}]}, "messages"),
    "an empty question": ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    "no base64": ({"extra_body": {"turnout": {"documents": [{"name": "a", "data": "%"}]}}}, "data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_be_done_is_refused_by_name(client: OpenAI, name: str) -> None:
    options, param = REFUSED[name]
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code


def test_a_field_of_ours_in_the_wrong_place_is_told_where_it_belongs(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="belongs into the field turnout"):
        complete(client, extra_body={"collection": "library"})


def test_what_asks_for_nothing_is_let_pass(client: OpenAI) -> None:
    assert complete(client, n=1, top_p=1.0, tools=[], presence_penalty=0.0, user="u", store=False).choices


def test_budgets_that_nothing_meets_and_unknown_names_say_so(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, extra_body={"turnout": {"budget": {"max_prompt_tokens": 1}}})
    assert caught.value.code == "budget_impossible"
    for model, over, kind in (
        ("gpt-4o", {}, openai.NotFoundError),
        ("turnout", {"documents": [{"id": "nothing"}]}, openai.NotFoundError),
        ("turnout", {"strategy": "rg"}, openai.BadRequestError),
    ):
        with pytest.raises(kind):
            client.chat.completions.create(model=model, messages=ASK, extra_body={"turnout": over})


def test_a_wrong_key_is_refused(client: OpenAI, server: Served) -> None:
    for key in ("sk-wrong", server.key + "x"):
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key=key).models.list()


def test_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "turnout" in names
    assert [client.models.retrieve(name).id for name in names] == names
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_embeddings_come_as_base64_or_as_numbers(client: OpenAI) -> None:
    # The client asks for base64 unless it is told otherwise.
    texts = ["the lamp", "the ferry"]
    packed = client.embeddings.create(model="turnout", input=texts)
    plain = client.embeddings.create(model="turnout", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert sum(value**2 for value in plain.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert client.embeddings.create(model="turnout", input="the lamp").data[0].embedding == packed.data[0].embedding
    assert packed.usage.prompt_tokens == 4
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="turnout", input=texts, dimensions=3)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="turnout", input=[1, 2])


def test_our_own_stream_equals_our_own_reply(server: Served) -> None:
    body = {"question": QUESTION, "documents": [{"text": BOOK, "title": "book.md"}]}
    with server.http() as http:
        whole = http.post("/v1/ask", json=body).json()
        lines = http.post("/v1/ask", json=body | {"stream": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [events[0]["type"], events[-1]["type"]] == ["decided", "done"]
    assert "".join(event["text"] for event in events if event["type"] == "text") == whole["text"]
    done = events[-1]["answer"]
    assert done["citations"] == whole["citations"]
    assert done["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]

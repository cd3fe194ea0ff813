"""The chat model beyond the standard suites: streams that equal answers, citations, threads, cancellation, options."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from support import tiny_models
from support.library import BOOK

from turnout import Budget, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled
from turnout.langchain import ChatTurnout, EngineFailure

QUESTION = "Who repaired the lighthouse lamp?"
WHY = "Why did Marta Lindqvist repair the lighthouse lamp?"
LAMP = "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal."
LONG = "It had been broken by a storm, and she had the parts of a railway signal at hand, which fitted. " * 3
QUOTED = (
    'Marta Lindqvist.\nQuote: "Marta Lindqvist repaired the lighthouse lamp"\nQuote: "she was paid in silver coins"'
)


def chat(*answers: str, **options: object) -> ChatTurnout:
    engine = FakeEngine(answers=answers or None)
    return ChatTurnout(turnout=Turnout(engine=engine), documents=[Text(BOOK, "book.md")], **options)


def engine_of(model: ChatTurnout) -> FakeEngine:
    return model.turnout._engine


def told(message: BaseMessage) -> dict[str, object]:
    """What must be the same however the answer came: all but ids and measured times."""
    about = dict(message.response_metadata)
    for name in ("answer_id", "decision", "usage", "budget", "output_version"):
        about.pop(name, None)
    return {
        "text": message.text,
        "blocks": [{k: v for k, v in block.items() if k not in ("index", "id")} for block in message.content_blocks],
        "usage": message.usage_metadata,
        "about": about,
        "chosen": message.response_metadata["decision"]["chosen"],
        "tokens": message.response_metadata["usage"]["prompt_tokens"],
    }


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize(
    ("question", "said"),
    [
        (QUESTION, "Marta Lindqvist did."),
        (QUESTION, QUOTED),
        (QUESTION, "Napoleon Bonaparte did."),
        (QUESTION, "Not in the text."),
        (WHY, LONG),
        (WHY, "Unfortunately, the text does not mention it, though it is long about lamps and other things. " * 2),
    ],
)
async def test_streamed_equals_unstreamed(question: str, said: str, version: str) -> None:
    model = chat(said, output_version=version)
    whole = model.invoke(question)
    chunks = list(model.stream(question))
    assert told(reduce(add, chunks)) == told(whole)
    assert [bool(chunk.usage_metadata) for chunk in chunks].count(True) == 1
    assert [bool(chunk.response_metadata.get("model_name")) for chunk in chunks].count(True) == 1
    assert told(await model.ainvoke(question)) == told(whole)
    assert told(reduce(add, [chunk async for chunk in model.astream(question)])) == told(whole)


def test_a_long_answer_comes_in_many_chunks_and_a_short_one_once_it_is_checked() -> None:
    model = chat(LONG)
    assert len([chunk for chunk in model.stream(WHY) if chunk.text]) > 10
    assert len([chunk for chunk in chat("Marta Lindqvist.").stream(QUESTION) if chunk.text]) == 1


def test_callbacks_see_every_chunk_once() -> None:
    seen: list[str] = []

    class Watch(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, **_: object) -> None:
            seen.append(token)

    chunks = list(chat(LONG).stream(WHY, config={"callbacks": [Watch()]}))
    assert "".join(seen) == "".join(chunk.text for chunk in chunks) == LONG.strip()
    assert len(seen) == len(chunks)


# --- what an answer carries ------------------------------------------------------------------------------------------


def test_citations_are_annotations_with_checked_spans() -> None:
    [block] = chat(QUOTED).invoke(QUESTION).content_blocks
    cited, made_up = block["annotations"]
    assert cited["type"] == "citation"
    assert (cited["title"], cited["start_index"], cited["end_index"]) == ("book.md", 0, len("Marta Lindqvist."))
    span = cited["extras"]
    assert BOOK[span["start"] : span["end"]] == cited["cited_text"] == "Marta Lindqvist repaired the lighthouse lamp"
    assert (span["found"], span["place"]) == ("exact", "book.md l.3")
    assert made_up["type"] == "non_standard_annotation"
    assert made_up["value"] == {"quote": "she was paid in silver coins", "found": None}


def test_a_quote_inside_the_answer_is_pointed_at() -> None:
    said = f'The book says: "{LAMP}"'
    [cited] = chat(said).invoke(QUESTION).content_blocks[0]["annotations"]
    assert said[cited["start_index"] : cited["end_index"]] == LAMP


def test_the_message_says_what_was_decided_and_can_be_written_as_json() -> None:
    message = chat().invoke(QUESTION, budget={"max_prompt_tokens": 4000})
    about = message.response_metadata
    assert about["decision"]["chosen"] in ("full", "rag")
    assert {c["strategy"] for c in about["decision"]["candidates"]} == {"full", "rag", "extract", "rapid", "soft"}
    assert about["budget"] == {"limits": {"max_prompt_tokens": 4000}, "met": True, "broken": []}
    assert (about["model_name"], about["model_provider"], about["abstained"]) == ("fake", "turnout", False)
    assert json.loads(json.dumps(message.model_dump()))["response_metadata"]["decision"]["id"] == about["answer_id"]


def test_an_abstention_says_so_with_the_nearest_passage() -> None:
    message = chat("Napoleon Bonaparte did.").invoke(QUESTION)
    assert message.text == "Not in the text."
    assert message.response_metadata["abstained"]
    assert "lighthouse" in message.response_metadata["nearest"]["quote"]
    assert message.content_blocks == [{"type": "text", "text": "Not in the text."}]


def test_an_answer_that_is_cut_says_so() -> None:
    message = chat("Marta Lindqvist repaired it with parts.", max_tokens=3).invoke(QUESTION)
    assert message.response_metadata["finish_reason"] == "length"
    assert message.usage_metadata["output_tokens"] == 3
    assert chat().invoke(QUESTION).response_metadata["finish_reason"] == "stop"


def test_an_answer_that_time_ends_is_kept_and_says_so() -> None:
    said = "Marta Lindqvist repaired it " * 50
    slow_one = Turnout(engine=FakeEngine(answers=[said], token_s=0.05))
    message = ChatTurnout(turnout=slow_one, documents=[Text(BOOK)], max_tokens=200, timeout=1.0).invoke(QUESTION)
    assert message.text.startswith("Marta Lindqvist")
    assert message.response_metadata["finish_reason"] == "length"
    assert message.response_metadata["notes"] == ["cut by the time limit"]


def test_tokens_are_counted_by_the_model_s_own_tokenizer() -> None:
    model = chat()
    assert model.get_num_tokens(LAMP) == engine_of(model).count_text(LAMP)
    assert model.get_num_tokens_from_messages([HumanMessage(LAMP)]) > model.get_num_tokens(LAMP)


def test_tokens_that_were_read_before_are_reported() -> None:
    engine = FakeEngine(capabilities=frozenset({"prefix_cache"}))
    model = ChatTurnout(turnout=Turnout(engine=engine), documents=[Text(BOOK)])
    first, second = model.invoke(QUESTION), model.invoke("What does the ferry to Osterholm cost?")
    assert first.usage_metadata["input_token_details"]["cache_read"] == 0
    assert 0 < second.usage_metadata["input_token_details"]["cache_read"] < second.usage_metadata["input_tokens"]


# --- conversations and options ---------------------------------------------------------------------------------------


def test_a_conversation_becomes_question_history_and_instructions() -> None:
    model = chat()
    model.invoke(
        [
            SystemMessage("Be brief."),
            ("user", "Hello."),
            ("user", "What does the ferry to Osterholm cost?"),
            ("assistant", "Four crowns."),
            ("system", "Answer in English."),
            HumanMessage([{"type": "text", "text": "And on which days "}, "does it cost that?"]),
        ]
    )
    context = engine_of(model).contexts[-1]
    assert context.question == "And on which days does it cost that?"
    assert [(turn.role, turn.text) for turn in context.history] == [
        ("system", "Be brief.\n\nAnswer in English."),
        ("user", "Hello.\n\nWhat does the ferry to Osterholm cost?"),
        ("assistant", "Four crowns."),
    ]


def test_options_hold_from_construction_and_a_call_goes_first() -> None:
    model = chat(max_tokens=30, temperature=0.3, stop=["crown"], seed=5, timeout=50, strategy="rag")
    engine = engine_of(model)
    message = model.invoke(QUESTION)
    params = engine.params[-1]
    assert (params.max_tokens, params.temperature, params.stop, params.seed) == (30, 0.3, ("crown",), 5)
    assert params.timeout_s == 50
    assert message.response_metadata["decision"]["chosen"] == "rag"
    bound = model.bind(max_tokens=20, temperature=0, timeout=40)
    bound.invoke(QUESTION, stop=["railway"], seed=6, strategy="full")
    params = engine.params[-1]
    assert (params.max_tokens, params.temperature, params.stop, params.seed) == (20, 0.0, ("railway",), 6)
    assert params.timeout_s == 40


def test_documents_are_bound_or_given_or_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "lamp.txt"
    path.write_text(LAMP, encoding="utf-8")
    model = ChatTurnout(turnout=Turnout(engine=FakeEngine()))
    model.turnout.add(Text("Olga Berg repaired the lighthouse lamp.", "other.txt"), collection="acme")
    document = Document(page_content="Per Holm repaired the lighthouse lamp.", metadata={"source": "per"})
    assert "Marta" in model.bind_documents(path).invoke(QUESTION).text
    assert "Marta" in model.bind_documents([path]).invoke(QUESTION).text
    assert "Per Holm" in model.bind_documents(path).invoke(QUESTION, documents=[document]).text
    assert "Olga Berg" in model.bind_collection("acme").invoke(QUESTION).text
    assert "Olga Berg" in model.bind_documents(path).invoke(QUESTION, collection="acme").text
    assert "Per Holm" in model.bind_collection("acme").bind_documents(document).invoke(QUESTION).text
    assert model.documents is None, "binding makes another model and leaves this one"


def test_another_model_for_one_call() -> None:
    with Turnout(engine=FakeEngine(name="first")) as shared:
        model = ChatTurnout(turnout=shared, documents=[Text(BOOK)])
        assert model.invoke(QUESTION).response_metadata["model_name"] == "first"
        assert model.invoke(QUESTION, model="fake").response_metadata["model_name"] == "fake"
        model.close()
        assert model.invoke(QUESTION, model="first").response_metadata["model_name"] == "first"


async def test_one_other_model_is_kept_open_and_an_answer_that_runs_is_not_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: dict[str, Turnout] = {}

    def another(self: Turnout, model: str, *_: object) -> Turnout:
        token_s = 0.02 if model == "slow" else 0.0
        assert model not in made or made[model]._parts is None, "it is open already"
        made[model] = Turnout(engine=FakeEngine(name=model, answers=[LONG], token_s=token_s))
        return made[model]

    monkeypatch.setattr(Turnout, "with_model", another)
    model = ChatTurnout(turnout=Turnout(engine=FakeEngine(name="own")), documents=[Text(BOOK)], max_tokens=30)

    def opened() -> set[str]:
        return {name for name, turnout in made.items() if turnout._parts is not None}

    for name in ("a", "b", "c"):
        assert model.invoke(WHY, model=name).response_metadata["model_name"] == name
        assert opened() == {name}
    running = asyncio.create_task(model.ainvoke(WHY, model="slow"))
    await asyncio.sleep(0.3)
    assert (await model.ainvoke(WHY, model="b")).response_metadata["model_name"] == "b"
    assert opened() == {"b", "slow"}
    second = asyncio.create_task(model.ainvoke(WHY, model="slow", max_tokens=3))
    for task in (running, second):
        assert (await task).response_metadata["model_name"] == "slow"
    assert opened() == {"slow"}
    model.close()
    assert opened() == set()


def test_traces_and_the_cache_of_answers_know_documents_without_holding_their_text() -> None:
    model = chat(cache=InMemoryCache())
    params = model._get_invocation_params(documents=[Text(LAMP, "lamp.txt")])
    assert params["documents"] == ["lamp.txt"]
    assert model._identifying_params["documents"] == ["book.md"]
    first = model.invoke(QUESTION)
    assert model.invoke(QUESTION).response_metadata["answer_id"] == first.response_metadata["answer_id"]
    others = [
        model.invoke(QUESTION, documents=[Text(text, "book.md")]).text for text in (LAMP, "Per repaired the lamp.")
    ]
    assert others == [LAMP, "Per repaired the lamp."]
    assert len(engine_of(model).contexts) == 3


def test_the_profile_knows_the_window_and_what_the_model_can_not_do() -> None:
    profile = ChatTurnout(turnout=Turnout(engine=FakeEngine(window=4321))).profile
    assert (profile["max_input_tokens"], profile["tool_calling"], profile["image_inputs"]) == (4321, False, False)
    assert ChatTurnout(model="http://127.0.0.1:9/v1").profile is None, "no server is asked by a constructor"


def test_a_constructor_opens_nothing(home: Path) -> None:
    ChatTurnout(model="http://127.0.0.1:9/v1", documents=["missing.pdf"]).bind_documents("x").bind_collection()
    assert list(home.iterdir()) == []


# --- at once ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    import torch

    from turnout.engines.local import LocalEngine

    torch.set_num_threads(1)
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=1024)
    engine = LocalEngine(folder, device="cpu", dtype="float32")
    yield engine
    engine.close()


PEOPLE = [f"Person{chr(65 + number)}" for number in range(16)]
LIST = " ".join(f"{name} owns boat number {number}." for number, name in enumerate(PEOPLE))


@pytest.mark.parametrize("kind", ["fake", "tiny"])
async def test_sixteen_at_once_get_the_answers_that_they_get_alone(kind: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue("tiny") if kind == "tiny" else FakeEngine()
    with Turnout(engine=engine) as shared:
        model = ChatTurnout(turnout=shared, documents=[Text(LIST)], max_tokens=12)
        questions = [f"Which boat number does {name} own?" for name in PEOPLE]
        with ThreadPoolExecutor(16) as pool:
            first = [message.text for message in pool.map(model.invoke, questions)]
        alone = [model.invoke(question).text for question in questions]
        assert first == alone
        if kind == "fake":
            assert alone == [f"{name} owns boat number {number}." for number, name in enumerate(PEOPLE)]
        assert [message.text for message in model.batch(questions, {"max_concurrency": 16})] == alone
        assert [message.text for message in await asyncio.gather(*map(model.ainvoke, questions))] == alone
        with ThreadPoolExecutor(16) as pool:
            streamed = pool.map(lambda question: "".join(chunk.text for chunk in model.stream(question)), questions)
            assert list(streamed) == alone


def slow() -> ChatTurnout:
    return ChatTurnout(
        turnout=Turnout(engine=FakeEngine(answers=[LONG * 3], token_s=0.02)), documents=[Text(BOOK)], max_tokens=400
    )


def free_within(model: ChatTurnout, seconds: float) -> None:
    """The engine takes the next question at once."""
    begin = time.monotonic()
    model.invoke(QUESTION, max_tokens=1)
    assert time.monotonic() - begin < seconds


async def test_cancelling_a_task_frees_the_engine() -> None:
    model = slow()
    free_within(model, 60)
    task = asyncio.create_task(model.ainvoke(WHY))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(free_within, model, 2.0)


async def test_leaving_an_async_stream_frees_the_engine() -> None:
    model = slow()
    free_within(model, 60)
    stream = model.astream(WHY)
    async for chunk in stream:
        if chunk.text:
            break
    await stream.aclose()
    await asyncio.to_thread(free_within, model, 2.0)


def test_leaving_a_stream_frees_the_engine() -> None:
    model = slow()
    free_within(model, 60)
    stream = model.stream(WHY)
    next(stream)
    stream.close()
    free_within(model, 2.0)


async def test_a_cancelled_one_among_many_takes_none_with_it() -> None:
    model = slow()
    free_within(model, 60)
    tasks = [asyncio.create_task(model.ainvoke(WHY, max_tokens=20)) for _ in range(4)]
    await asyncio.sleep(0.2)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert all(isinstance(message, AIMessage) for message in done[1:])


def test_closing_stops_an_answer_that_runs() -> None:
    model = slow()
    free_within(model, 60)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            model.invoke(WHY)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    model.turnout.close()
    thread.join(5)
    assert [type(error.__cause__) for error in failed] == [Cancelled]
    assert isinstance(failed[0], EngineFailure)


def test_a_budget_may_be_an_object_or_a_mapping() -> None:
    for budget in (Budget(max_prompt_tokens=4000), {"max_prompt_tokens": 4000}):
        limits = chat(budget=budget).invoke(QUESTION).response_metadata["budget"]["limits"]
        assert limits == {"max_prompt_tokens": 4000}

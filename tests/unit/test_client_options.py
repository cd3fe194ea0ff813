"""What a question can be asked with besides: how to write, what is wanted of every answer, text that stays."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Decoding, Done, Message, Retracted, Text, TextDelta, Turnout
from turnout.config import Settings
from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import PLAIN, QUOTING, pieces
from turnout.errors import ConfigurationError, EngineTimeoutError, NoDocumentsError
from turnout.router.check import is_refusal, is_settled
from turnout.types import Context, Question

QUESTION = "Who repaired the lighthouse lamp?"
WHY = "Why did Marta Lindqvist repair the lighthouse lamp?"


def test_decoding_reaches_the_engine() -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t:
        t.ask(QUESTION, Text(BOOK), decoding=Decoding(7, 0.5, ("crown",), 3, 60.0))
    params = engine.params[-1]
    assert (params.max_tokens, params.temperature, params.stop, params.seed) == (7, 0.5, ("crown",), 3)
    assert params.timeout_s == 60.0


@pytest.mark.parametrize(("able", "choices"), [({"choices"}, ("It rained.", "It snowed.")), (set(), ())])
def test_an_engine_that_can_choose_is_given_the_options_that_the_question_lists(able: set[str], choices: tuple) -> None:
    engine = FakeEngine(capabilities=frozenset(able))
    with Turnout(engine=engine) as t:
        t.ask(f"{WHY}\nA. It rained.\nB. It snowed.", Text(BOOK))
        t.ask(WHY, Text(BOOK))
    assert [params.choices for params in engine.params] == [choices, ()]
    assert [context.task for context in engine.contexts] == ["choice", "reasoning"]


@pytest.mark.parametrize("tokens", [250, 600])
def test_rag_reads_as_many_tokens_of_passages_as_it_is_told(tokens: int) -> None:
    engine, book = FakeEngine(), Text("\n\n".join(f"{BOOK} ({number})" for number in range(40)))
    with Turnout(engine=engine, embedder=WordEmbedder(), passage_tokens=tokens) as t:
        foretold = t.plan(QUESTION, book)["rag"].prompt_tokens
        answer = t.ask(QUESTION, book, strategy="rag")
    read = sum(engine.count_text(part.text) for part in engine.contexts[-1].parts)
    assert 0.5 * tokens < read <= tokens
    assert foretold == pytest.approx(answer.usage.prompt_tokens, rel=0.5)


def test_the_answer_ends_before_a_stop_string() -> None:
    with Turnout(engine=FakeEngine(answers=["Marta Lindqvist, with parts from a railway signal."])) as t:
        answer = t.ask(QUESTION, Text(BOOK), decoding=Decoding(stop=(", with",)))
    assert answer.text == "Marta Lindqvist"


def test_the_token_limit_plays_a_part_in_the_decision() -> None:
    with Turnout(engine=FakeEngine()) as t:
        decision = t.plan(QUESTION, Text(BOOK), decoding=Decoding(max_tokens=300))
    assert decision.signals["max_new_tokens"] == 300


def test_time_that_is_over_before_the_first_word_is_an_error() -> None:
    slow = FakeEngine(token_s=0.2)
    with Turnout(engine=slow) as t, pytest.raises(EngineTimeoutError):
        t.ask(QUESTION, Text(BOOK), decoding=Decoding(timeout_s=0.1))


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_tokens=0),
        Decoding(temperature=-1),
        Decoding(temperature=math.nan),
        Decoding(timeout_s=0),
        Decoding(max_tokens="5"),
        Decoding(max_tokens=True),
        Decoding(temperature=None),
        Decoding(temperature="hot"),
        Decoding(timeout_s=""),
        Decoding(seed=0.5),
        Decoding(stop=(7,)),
        Decoding(stop="end"),
        Decoding(cache_namespace=7),
    ],
)
def test_what_no_engine_can_do_is_refused(decoding: Decoding) -> None:
    with Turnout(engine=FakeEngine()) as t, pytest.raises(ConfigurationError) as refused:
        t.plan(QUESTION, Text(BOOK), decoding=decoding)
    assert refused.value.hint


def test_instructions_lead_the_prompt_and_are_not_searched_for() -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t:
        answer = t.ask(QUESTION, Text(BOOK), instructions="Summarise. Answer in French.", strategy="rag")
    assert engine.contexts[-1].history == (Message("system", "Summarise. Answer in French."),)
    assert answer.decision.signals["task"] == "location"
    system, user = pieces(engine.contexts[-1], QUOTING)
    assert system.role == "system"
    assert system.text == f"{QUOTING.system}\n\nSummarise. Answer in French."
    assert [piece.trusted for piece in system.pieces] == [True, True, False]
    assert user.text.endswith(QUESTION)


def test_history_may_not_speak_as_the_system() -> None:
    with Turnout(engine=FakeEngine()) as t, pytest.raises(ConfigurationError, match="system"):
        t.ask(QUESTION, Text(BOOK), history=[Message("system", "obey")])


@pytest.mark.parametrize("said", ["Napoleon Bonaparte did.", "Marta Lindqvist.", "Not in the text."])
def test_steady_text_is_never_retracted(said: str) -> None:
    with Turnout(engine=FakeEngine(answers=[said])) as t:
        events = list(t.stream(QUESTION, Text(BOOK), steady=True))
    done = events[-1]
    assert isinstance(done, Done)
    assert not any(isinstance(event, Retracted) for event in events)
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert shown == ("" if done.answer.abstained else done.answer.text)


def test_steady_text_of_a_long_answer_streams_once_it_can_be_no_refusal() -> None:
    said = "The lamp had been broken by a storm, and she had the parts of a railway signal at hand that fitted it. " * 2
    with Turnout(engine=FakeEngine(answers=[said])) as t:
        shown = [event.text for event in t.stream(WHY, Text(BOOK), steady=True) if isinstance(event, TextDelta)]
    assert len(shown) > 10
    assert "".join(shown) == said.strip()


LONGEST = "Unfortunately, these enclosed documents did not explicitly provide any sufficient the that information"


def test_no_refusal_is_longer_than_what_settles_an_answer() -> None:
    question = Question(WHY, WHY, "reasoning")
    assert is_refusal(LONGEST)
    words = LONGEST.split()
    for end in range(1, len(words)):
        assert not is_settled(" ".join(words[:end]), question)
    assert is_settled("word " * 17, question)
    assert not is_settled("word " * 17, Question(QUESTION, QUESTION, "location"))


def test_a_context_without_a_system_wording_gets_one_only_where_it_is_wanted() -> None:
    assert [m.role for m in pieces(Context((), "Who?"), PLAIN)] == ["user"]
    told = Context((), "Who?", (Message("system", "Be brief."),))
    assert [m.role for m in pieces(told, PLAIN)] == ["system", "user"]


def test_a_search_gives_places_and_what_was_given_with_a_text() -> None:
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as t:
        book = Text(BOOK, "book.md", metadata={"shelf": 3})
        hits = t.search(QUESTION, book, limit=2)
    assert len(hits) == 2
    first = hits[0]
    assert "Marta Lindqvist" in first.text
    assert BOOK[first.start : first.end] == first.text
    assert (first.document.title, first.metadata) == ("book.md", {"shelf": 3})
    assert first.cosine is not None and 0 < first.cosine <= 1
    assert first.place.startswith("book.md l.")
    assert first.score > hits[1].score


def two_names(t: Turnout) -> None:
    t.add(Text(BOOK, "alpha", "/a", {"shelf": 1}), collection="a")
    t.add(Text(BOOK, "beta", "/b", {"shelf": 2}), collection="b")
    t.add(Text(BOOK, "gamma"), collection="c")


@pytest.mark.parametrize(
    ("collection", "title", "source", "metadata"),
    [("a", "alpha", "/a", {"shelf": 1}), ("b", "beta", "/b", {"shelf": 2}), ("c", "gamma", "text:", {})],
)
def test_a_text_of_several_collections_has_in_each_the_name_and_the_metadata_of_there(
    collection: str, title: str, source: str, metadata: dict[str, int]
) -> None:
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as t:
        two_names(t)
        listed = t.documents(collection)
        for hits in (t.search(QUESTION, collection=collection), t.search(QUESTION, listed)):
            assert {(hit.document.title, hit.metadata == metadata) for hit in hits} == {(title, True)}
            assert hits[0].document.source.startswith(source)
            assert hits[0].place.startswith(f"{title} l.")
        cited = t.ask(QUESTION, listed).citations[0]
        assert (cited.document.title, cited.place) == (title, f"{title} l.3")


def test_what_is_given_to_a_search_has_the_name_and_the_metadata_that_it_is_given_with() -> None:
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as t:
        two_names(t)
        for text in (Text(BOOK, "mine", metadata={"shelf": 9}), Text(BOOK, "plain")):
            hit = t.search(QUESTION, text)[0]
            assert (hit.document.title, hit.metadata) == (text.title, text.metadata)
        assert t.search(QUESTION, "beta")[0].metadata == {"shelf": 2}
        assert t.search(QUESTION, "gamma")[0].metadata == {}
        t.add(Text(BOOK.upper(), "loud", metadata={"shelf": 5}))
        assert t.search(QUESTION, "loud")[0].metadata == {"shelf": 5}


async def test_a_search_is_over_documents_or_over_a_collection() -> None:
    with Turnout(engine=FakeEngine()) as t:
        for given in ({}, {"documents": Text(BOOK), "collection": "a"}):
            with pytest.raises(ConfigurationError, match="over documents or over a collection"):
                t.search(QUESTION, **given)
        with pytest.raises(NoDocumentsError, match="holds nothing"):
            await t.asearch(QUESTION, collection="a")


def test_load_reads_documents_without_keeping_them() -> None:
    with Turnout(engine=FakeEngine()) as t:
        assert [document.text for document in t.load(Text("one"), Text("two"))] == ["one", "two"]
        assert t.documents() == []


def test_label_and_window_open_nothing(home: Path) -> None:
    assert Turnout(engine=FakeEngine(window=4000, name="seer")).label == "seer"
    assert Turnout(engine=FakeEngine(window=4000)).window == 4000
    assert Turnout().label == "smollm2-135m"
    assert Turnout("http://127.0.0.1:9/v1", "qwen3").label == "qwen3"
    assert Turnout("http://127.0.0.1:9/v1").window is None
    assert Turnout("no-such-model").window is None
    assert list(home.iterdir()) == []


def test_another_model_over_the_same_library() -> None:
    with Turnout(engine=FakeEngine(name="first"), embedder=WordEmbedder()) as t:
        added = t.add(Text(BOOK, "book.md"))
        with t.with_model("fake") as other:
            assert other.ask(QUESTION, added.documents).model.name == "fake"
            assert [document.title for document in other.documents()] == ["book.md"]
    on_server = Turnout("http://127.0.0.1:9/v1", "small")
    assert on_server.with_model("large").label == "large"
    assert on_server.with_model("large").window is None
    assert on_server.with_model("http://127.0.0.1:8/v1").label == "http://127.0.0.1:8/v1"


def test_another_model_gets_no_key_adapter_or_name_that_was_not_given_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(turnout: Turnout) -> Settings:
        return Settings.load(**turnout._options)

    for name, value in {"API_KEY": "sk-env", "ADAPTER": "/adapter", "MODEL_NAME": "small"}.items():
        monkeypatch.setenv(f"TURNOUT_{name}", value)
    here, there = "http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"
    for own, key in ((Turnout(here), "sk-env"), (Turnout(here, api_key="sk-own"), "sk-own")):
        other = settings(own.with_model(there))
        assert (other.model, other.api_key, other.adapter, other.model_name) == (there, None, None, None)
        same = settings(own.with_model("large"))
        assert (same.model, same.api_key, same.adapter, same.model_name) == (here, key, None, "large")
        assert settings(own.with_model(here)).api_key == key
        assert settings(own.with_model(there, "big", api_key="sk-there")).api_key == "sk-there"
        local = settings(own.with_model(there).with_model("http://127.0.0.1:7/v1"))
        assert (local.api_key, local.adapter, local.model_name) == (None, None, None)
    assert settings(Turnout("fake").with_model(there)).api_key is None
    assert settings(Turnout("fake", adapter="/mine").with_model("qwen3-0.6b")).adapter is None


def test_another_model_gets_nothing_that_was_said_of_this_ones_server() -> None:
    here, there = "http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"
    own = Turnout(here, server_window=999, server_takes=["cache_salt"], server_retries=7, cache_namespace="acme")

    def settings(turnout: Turnout) -> tuple[object, ...]:
        found = Settings.load(**turnout._options)
        return found.server_window, found.server_takes, found.server_retries, found.cache_namespace

    assert settings(own) == (999, {"cache_salt"}, 7, "acme")
    assert settings(own.with_model("large")) == (None, {"cache_salt"}, 7, "acme")
    assert settings(own.with_model(there)) == (None, frozenset(), 7, "acme")


def test_a_question_finds_again_what_was_read_for_its_own_tenant() -> None:
    engine = FakeEngine(capabilities=frozenset({"prefix_cache"}))
    with Turnout(engine=engine) as t:
        read = [
            t.ask(QUESTION, Text(BOOK), strategy="full", decoding=Decoding(cache_namespace=tenant)).usage.cached_tokens
            for tenant in ("a", "b", "a", None)
        ]
    assert [bool(tokens) for tokens in read] == [False, False, True, False]
    assert [params.cache_namespace for params in engine.params] == ["a", "b", "a", None]


def test_a_namespace_of_all_questions_is_given_once() -> None:
    engine = FakeEngine()
    with Turnout(engine=engine, cache_namespace="acme") as t:
        t.ask(QUESTION, Text(BOOK))
        t.ask(QUESTION, Text(BOOK), decoding=Decoding(cache_namespace="other"))
    assert [params.cache_namespace for params in engine.params] == ["acme", "other"]


def test_an_async_answer_leaves_no_thread_behind() -> None:
    with Turnout(engine=FakeEngine()) as t:
        answer = asyncio.run(t.aask(QUESTION, Text(BOOK)))
        assert "Marta Lindqvist" in answer.text
        for thread in threading.enumerate():
            if thread.name == "turnout":
                thread.join(1)  # at most its last step is left
                assert not thread.is_alive()

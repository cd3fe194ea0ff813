"""`Turnout.compress`: texts that somebody else found, and what a question wants of them."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.able import AbleEngine
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Excerpt, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.entries import Entry
from turnout.errors import Cancelled, ConfigurationError, EngineError, UnknownNameError
from turnout.progress import Watch
from turnout.types import GenerationParams

QUESTION = "Who repaired the lighthouse lamp?"
LAMP = "Marta Lindqvist repaired the lighthouse lamp. Coal came by cart. A dog slept there."
FERRY = "The ferry to Osterholm costs four crowns."
CODE = "def mend(lamp):\n    # the lighthouse lamp is repaired\n    return lamp\n\n\n" + "".join(
    f"def other{n}(x):\n    return x * {n}\n\n\n" for n in range(30)
)


@pytest.fixture
def t(tmp_path: Path) -> Iterator[Turnout]:
    with Turnout(engine=AbleEngine(), embedder=WordEmbedder(dimension=4096), home=tmp_path / "home") as turnout:
        yield turnout


@pytest.mark.parametrize("strategy", ["extract", "extract:exit"])
def test_each_text_keeps_what_is_wanted_of_it(t: Turnout, strategy: str) -> None:
    first, second, third = t.compress(QUESTION, [LAMP, Text(FERRY, "ferry.txt"), "  \n "], strategy=strategy)
    assert first == (Excerpt("Marta Lindqvist repaired the lighthouse lamp.", 0, 45),)
    assert second == third == ()


def test_long_texts_are_scored_by_segments_as_in_the_library(t: Turnout) -> None:
    (kept,) = t.compress(QUESTION, [BOOK], max_tokens=60)
    assert any("Marta Lindqvist" in excerpt.text for excerpt in kept)
    assert all(excerpt.text == BOOK[excerpt.start : excerpt.end] for excerpt in kept)
    before = t._opened().scores.statistics()
    assert before.entries > 3
    t.ask(QUESTION, [Text(BOOK)], strategy="extract")
    assert t._opened().scores.statistics().entries == before.entries


def test_the_best_of_all_texts_fills_the_room(t: Turnout) -> None:
    texts = [FERRY, LAMP, LAMP.replace("repaired", "saw")]
    kept = t.compress(QUESTION, texts, threshold=0.1, max_tokens=14)
    assert [len(each) for each in kept] == [0, 1, 0]
    assert t.compress(QUESTION, texts, threshold=0.0)[0] == (Excerpt(FERRY, 0, len(FERRY)),)


def test_pieces_that_the_model_looks_at(t: Turnout) -> None:
    (kept,) = t.compress(QUESTION, [BOOK], strategy="extract:draft", max_tokens=60)
    assert any("repaired the lighthouse lamp" in excerpt.text for excerpt in kept)
    assert sum(t.count_tokens(excerpt.text) for excerpt in kept) <= 60
    assert all(excerpt.text == BOOK[excerpt.start : excerpt.end] for excerpt in kept)


ODD = {
    "empty": "",
    "blanks": " \n\t\r\n \u200b\n",
    "one giant sentence": "the lamp and the oil and the coal and " * 900,
    "one giant word": "x" * 60_000,
    "minified code": "function(a){return a+1};var lamp=[1,2,3];" * 900,
    "broken syntax": "def lamp(:\n  return [\n\nclass {\n" * 300,
    "mixed languages": "The lamp. Die Lampe wurde 1893 repariert. 灯は修理された。اللمبة مكسورة. " * 60,
    "a line of 2 MB": "lamp words without any end and more of them " * 45_000,
    "marks and emoji": "👩‍👩‍👧‍👦 e\u0301\u0301 \ufeff<|im_end|> \x00 " * 200,
}


@pytest.mark.parametrize("strategy", ["extract", "extract:exit", "extract:code", "extract:draft"])
@pytest.mark.parametrize("name", ODD)
def test_odd_texts(t: Turnout, strategy: str, name: str) -> None:
    text = ODD[name][: 200_000 if strategy == "extract:code" else None]
    given = (
        [Text(text, "odd.py"), Text(text, "odd.txt"), LAMP] if len(text) < 100_000 else [Text(text, "odd.txt"), LAMP]
    )
    for question in (QUESTION, "誰が灯台のランプを修理しましたか", "?!"):
        found = t.compress(question, given, strategy=strategy, max_tokens=60)
        # Texts alone may be kept whole where that takes no more than what would be kept of them.
        assert sum(t.count_tokens(excerpt.text) for each in found for excerpt in each) <= 60
        for each, source in zip(found, given, strict=True):
            whole = source if isinstance(source, str) else source.text
            at = 0
            for excerpt in each:
                assert excerpt.start >= at and excerpt.text == whole[excerpt.start : excerpt.end]
                at = excerpt.end
        if len(text) > 20_000:  # slow enough with one
            break


def test_code_by_its_functions(t: Turnout) -> None:
    (kept,) = t.compress(QUESTION, [Text(CODE, "lamp.py")], strategy="extract:code", max_tokens=60)
    assert any("def mend(lamp)" in excerpt.text for excerpt in kept)
    assert sum(t.count_tokens(excerpt.text) for excerpt in kept) <= 60


def test_without_a_model_sentences_are_judged_all_the_same(tmp_path: Path) -> None:
    with Turnout(model="smollm2-135m", embedder=WordEmbedder(), home=tmp_path / "home") as t:
        assert t.compress(QUESTION, [LAMP])[0][0].text.startswith("Marta")
        assert t.compress(QUESTION, [LAMP], max_tokens=0) == [()]


def test_nor_does_its_server_have_to_be_there(tmp_path: Path) -> None:
    class Away(FakeEngine):
        def count_text(self, text: str) -> int:
            raise EngineError("no server")

    with Turnout(engine=Away(), embedder=WordEmbedder(), home=tmp_path / "home") as t:
        assert t.compress(QUESTION, [LAMP])[0][0].text.startswith("Marta")


def test_what_can_not_be_encoded_is_kept_as_it_stands(t: Turnout) -> None:
    broken = "Oil \ud83d\ude00 came. Marta \ud800 repaired the lighthouse lamp. Coal came by cart."
    (kept,) = t.compress(f"{QUESTION} \udfff", [broken])
    assert [excerpt.text for excerpt in kept] == ["Marta \ud800 repaired the lighthouse lamp."]
    assert all(excerpt.text == broken[excerpt.start : excerpt.end] for excerpt in kept)


async def test_async_gives_the_same(t: Turnout) -> None:
    assert await t.acompress(QUESTION, [LAMP], threshold=0.3) == t.compress(QUESTION, [LAMP], threshold=0.3)


class Slow(AbleEngine):
    """Takes its time for each passage, and says how many it has begun."""

    begun = 0

    def weigh(
        self, text: str, questions: Sequence[str], answers: Sequence[str], watch: Watch | None = None
    ) -> list[list[float]]:
        self.begun += 1
        time.sleep(0.05)
        return super().weigh(text, questions, answers, watch)

    def surprise(self, texts: Sequence[str], continuation: str, watch: Watch | None = None) -> list[float]:
        self.begun += 1
        time.sleep(0.05)
        return super().surprise(texts, continuation, watch)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Turnout, Slow]]:
    engine = Slow(window=4000)
    with Turnout(engine=engine, embedder=WordEmbedder(), home=tmp_path / "home") as turnout:
        yield turnout, engine


@pytest.mark.parametrize(("strategy", "text"), [("extract:exit", Text(BOOK)), ("extract:code", Text(CODE, "lamp.py"))])
async def test_a_cancelled_scan_ends_after_its_batch_and_keeps_what_it_has(
    slow: tuple[Turnout, Slow], strategy: str, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.compression.code_gains.LONGEST", 60)  # so little code is read at once
    t, engine = slow
    task = asyncio.create_task(t.acompress(QUESTION, [text], strategy=strategy, max_tokens=60))
    while engine.begun < 3 and not task.done():
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    begun, read = engine.begun, engine.read
    assert begun in (3, 4)
    await asyncio.sleep(0.15)
    assert engine.begun == begun, "nothing goes on behind the caller's back"
    await t.acompress(QUESTION, [text], strategy=strategy, max_tokens=60)
    resumed = engine.read - read
    with Turnout(engine=Slow(window=4000), embedder=WordEmbedder(), home=t._opened().settings.home / "other") as other:
        await other.acompress(QUESTION, [text], strategy=strategy, max_tokens=60)
        assert resumed < other._opened().engine.read


async def test_a_cancelled_question_ends_its_scan(slow: tuple[Turnout, Slow]) -> None:
    t, engine = slow
    task = asyncio.create_task(t.aask(QUESTION, [Text(BOOK)], strategy="extract:exit"))
    while not engine.begun and not task.done():
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.begun <= 2
    assert not engine.contexts


def test_a_scan_says_how_far_it_is_and_can_be_given_up(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with Turnout(
        engine=AbleEngine(), embedder=WordEmbedder(), home=tmp_path / "home", progress=lambda *each: told.append(each)
    ) as t:
        t.compress(QUESTION, [BOOK], strategy="extract:exit")
        scanned = [(done, total) for stage, done, total in told if stage == "scanning"]
        assert len(scanned) > 3
        assert scanned == [(n, len(scanned)) for n in range(1, len(scanned) + 1)]
        told.clear()
        t.ask(QUESTION, [Text(BOOK + BOOK.replace("Marta", "Berta"))], strategy="extract:exit")
        assert [stage for stage, *_ in told if stage == "scanning"]
        for strategy in ("extract", "extract:exit"):
            with pytest.raises(Cancelled):
                t.compress("What does the ferry cost?", [BOOK], strategy=strategy, stopped=lambda: True)


def test_what_asks_the_model_waits_for_its_turn_and_the_rest_does_not(tmp_path: Path) -> None:
    engine = AbleEngine(token_s=0.05)
    with Turnout(engine=engine, embedder=WordEmbedder(), home=tmp_path / "home") as t:
        stream = t.stream(QUESTION, [Text(LAMP)])
        next(stream)
        assert t.compress(QUESTION, [LAMP])
        done = threading.Event()
        waiting = threading.Thread(
            target=lambda: (t.compress(QUESTION, [LAMP], strategy="extract:exit"), done.set()), daemon=True
        )
        waiting.start()
        assert not done.wait(0.2)
        stream.close()
        assert done.wait(5)
    assert GenerationParams() not in engine.params


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (LAMP, {}, "one text is given"),
        ([3], {}, "3 is no text"),
        ([LAMP], {"threshold": 2.0}, "threshold is 2.0"),
        ([LAMP], {"threshold": "high"}, "threshold is 'high'"),
        ([LAMP], {"max_tokens": -1}, "max_tokens is -1"),
        ([LAMP], {"max_tokens": 2.5}, "max_tokens is 2.5"),
        ([LAMP], {"max_tokens": ""}, "max_tokens is ''"),
        ([LAMP], {"strategy": "extract:code", "threshold": 0.5}, "threshold would change nothing"),
        ([LAMP], {"strategy": "extract:draft", "threshold": 0.5}, "threshold would change nothing"),
    ],
)
def test_what_can_not_be_meant_is_refused(t: Turnout, texts: object, options: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        t.compress(QUESTION, texts, **options)  # type: ignore[arg-type]


def test_other_refusals(t: Turnout, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the question is empty"):
        t.compress(" ", [LAMP])
    with pytest.raises(UnknownNameError, match="extract:exit"):
        t.compress(QUESTION, [LAMP], strategy="exit")
    plain = Turnout(engine=FakeEngine(), home=tmp_path / "other")
    with plain, pytest.raises(ConfigurationError, match="needs a model that this machine runs"):
        plain.compress(QUESTION, [LAMP], strategy="extract:exit")


def test_removing_an_entry_of_a_store_removes_the_scores(t: Turnout) -> None:
    entries = t.entries("notes")
    entries.put([Entry("lamp", LAMP)])
    t.compress(QUESTION, [LAMP])
    assert t._opened().scores.statistics().entries
    entries.remove(["lamp"])
    assert not t._opened().scores.statistics().entries


def test_removing_a_document_removes_the_scores(t: Turnout) -> None:
    (document,) = t.add(Text(BOOK, "book.md")).documents
    t.ask(QUESTION, [document], strategy="extract")
    assert t._opened().scores.statistics().entries
    t.remove(document)
    assert not t._opened().scores.statistics().entries

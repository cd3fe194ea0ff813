"""Pointing at sentences in documents of any length: word for word, whole windows compared with each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tiny_models

from turnout.documents import Document, Passage
from turnout.engines.local import LocalEngine
from turnout.engines.locating import Stretch
from turnout.errors import Cancelled, ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.retrieval.chunkfree import ChunkFreeRetriever
from turnout.retrieval.corpus import Corpus
from turnout.types import ModelInfo

NEEDLE = "The keeper hid the brass key under the third stair. "
QUESTION = "where is the brass key of the keeper?"
HAY = "Rain fell on grey fields and nobody spoke. "


class Words:
    """Points at sentences by the words that they share with the question, each with the one after it where that begins
    with "Then"; remembers what it was given."""

    model = ModelInfo("words", 4096, "words")

    def __init__(self) -> None:
        self.read: list[list[str]] = []
        self.namespaces: set[str | None] = set()

    def open(self) -> None:
        pass

    def count_text(self, text: str) -> int:
        return len(text.split())

    def locate(
        self,
        sentences: Sequence[str],
        question: str,
        limit: int,
        longest: int,
        namespace: str | None = None,
        watch: Watch | None = None,
    ) -> list[Stretch]:
        self.read.append(list(sentences))
        self.namespaces.add(namespace)
        assert watch is not None
        watch.read(sum(map(self.count_text, sentences)))
        wanted = set(question.strip("?").split())
        scores = [0.01 + len(wanted & {word.strip(".,") for word in each.lower().split()}) for each in sentences]
        best = sorted(range(len(sentences)), key=lambda number: -scores[number])[:limit]
        ends = [number + 1 + sentences[number + 1 : number + 2][:1].count("Then it rained. ") for number in best]
        return [Stretch(first, end, scores[first] / sum(scores)) for first, end in zip(best, ends, strict=True)]


def corpus(*texts: str, kind: str = "text") -> Corpus:
    documents = [
        Document(f"d{number}", f"{number}.txt", text, f"{number}.txt", kind) for number, text in enumerate(texts)
    ]
    return Corpus(documents, [])


def verbatim(found: Sequence[Passage], of: Corpus) -> bool:
    return all(passage.text == of.text(passage.span) and passage.text.strip() for passage in found)


@pytest.mark.parametrize("depth", [0, 1, 30, 77, 99, 100])
def test_a_needle_is_found_at_every_depth_and_windows_are_compared(depth: int) -> None:
    lines = [f"{HAY[:-2]} on day {number}. " for number in range(100)]
    lines.insert(depth, NEEDLE)
    engine, text = Words(), corpus("".join(lines))
    found = ChunkFreeRetriever(engine, window_tokens=120, spans=3).retrieve(QUESTION, text, 3)
    assert found[0].text == NEEDLE
    assert verbatim(found, text)
    assert len(engine.read) > 8
    assert max(sum(map(engine.count_text, sentences)) for sentences in engine.read) <= 120
    assert NEEDLE in engine.read[-1], "what was found is read together in the end"
    once = list(itertools.chain(*engine.read))[: len(lines)]
    assert once == lines


def test_what_fits_a_window_is_read_once() -> None:
    engine = Words()
    ChunkFreeRetriever(engine).retrieve(QUESTION, corpus(HAY * 20 + NEEDLE), 3)
    assert len(engine.read) == 1


def test_duplicates_keep_their_own_places_and_a_stretch_ends_with_its_document() -> None:
    texts = [NEEDLE + HAY + NEEDLE + "Then it rained. " + HAY + NEEDLE, "Then it rained. " + HAY]
    text = corpus(*texts)
    found = ChunkFreeRetriever(Words()).retrieve(QUESTION, text, 3)
    second, third = texts[0].index(NEEDLE, 1), texts[0].rindex(NEEDLE)
    assert {(each.span.document_id, each.span.start) for each in found} == {("d0", 0), ("d0", second), ("d0", third)}
    assert verbatim(found, text)
    assert {each.text for each in found} == {NEEDLE, NEEDLE + "Then it rained. "}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [NEEDLE, "Rain fell. ", "A key.\n\n", "鍵は三段目の下にある。", "مفتاح. ", "\t\n", "Then it rained. "]
        ),
        max_size=40,
    )
)
def test_passages_are_verbatim_apart_and_within_the_limit(pieces: list[str]) -> None:
    text = corpus("".join(pieces))
    found = ChunkFreeRetriever(Words(), window_tokens=12).retrieve(QUESTION, text, 3)
    assert len(found) <= 3
    assert verbatim(found, text)
    ordered = sorted(found, key=lambda passage: passage.span.start)
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(ordered))
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    if NEEDLE in pieces:
        assert any("brass key" in passage.text for passage in found)


def test_reading_is_told_to_its_end_and_never_backwards() -> None:
    engine = Words()
    told: list[tuple[str, int, int]] = []
    watch = Watch(progress=lambda *step: told.append(step), namespace="mine")
    ChunkFreeRetriever(engine, window_tokens=50).retrieve(QUESTION, corpus(HAY * 60), 3, watch)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    tokens = engine.count_text(HAY * 60)
    assert told[-1] == ("reading", tokens, tokens)
    assert len(told) > 5
    assert engine.namespaces == {"mine"}
    assert watch.read_tokens == sum(engine.count_text(text) for texts in engine.read for text in texts) > tokens


def test_giving_up_ends_what_the_engine_does() -> None:
    engine = Words()
    with pytest.raises(Cancelled):
        ChunkFreeRetriever(engine, window_tokens=50).retrieve(
            QUESTION, corpus(HAY * 60), 3, Watch(lambda: len(engine.read) == 2)
        )
    assert len(engine.read) == 2


def test_nothing_to_read_and_nothing_wanted() -> None:
    for text in (corpus(), corpus("", " \n")):
        assert ChunkFreeRetriever(Words()).retrieve(QUESTION, text, 5) == []
    engine = Words()
    assert ChunkFreeRetriever(engine).retrieve(QUESTION, corpus(NEEDLE), 0) == []
    assert engine.read == []


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigurationError, match="question is empty"):
        ChunkFreeRetriever(Words()).retrieve(" ", corpus(NEEDLE), 5)
    with pytest.raises(ConfigurationError, match="span_tokens is 0"):
        ChunkFreeRetriever(Words(), span_tokens=0)
    with pytest.raises(EngineError, match="question of 5,000 tokens leaves no room"):
        ChunkFreeRetriever(Words()).retrieve("why " * 5000, corpus(NEEDLE), 5)


# --- on a model, of random weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    import torch

    torch.set_num_threads(1)
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=4096)
    return LocalEngine(folder, device="cpu", chunk_tokens=256, dtype="float32")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("One sentence alone.", id="one sentence"),
        pytest.param("no sentence ends " * 200, id="no sentence ends"),
        pytest.param("The lamp is lit. " * 150, id="all alike"),
        pytest.param("the light stands on the island. " * 3 + "\n\n" + HAY * 100, id="several windows"),
        pytest.param("المفتاح تحت الدرجة الثالثة. المنارة على الجزيرة. " * 8, id="right to left"),
        pytest.param("鍵は三段目の下にある。灯台は島に立つ。" * 12, id="no spaces"),
        pytest.param("\ud7ff\u202e 🏮 e\u0301.\u2028\x0b Yes. Yes. \x00 No.", id="odd characters"),
    ],
)
def test_any_text_is_found_in_word_for_word_and_the_same_again(tiny: LocalEngine, text: str) -> None:
    of = corpus(text)
    retriever = ChunkFreeRetriever(tiny, window_tokens=1024, span_tokens=64)
    found = retriever.retrieve("where does the light stand?", of, 4)
    assert 1 <= len(found) <= 4
    assert verbatim(found, of)
    tiny.forget()
    assert retriever.retrieve("where does the light stand?", of, 4) == found


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["The lamp is lit. ", "The lamp is out. ", "The lamp is lit.", "Yes. ", "灯台は島に立つ。", "\n\n"]
        ),
        max_size=9,
    )
)
def test_a_models_passages_are_verbatim_and_each_duplicate_its_own(tiny: LocalEngine, pieces: list[str]) -> None:
    of = corpus("".join(pieces), "The lamp is lit. The lamp is lit. ")
    found = ChunkFreeRetriever(tiny, window_tokens=1024, span_tokens=8, spans=40).retrieve("is the lamp lit?", of, 40)
    assert verbatim(found, of)
    ordered = sorted((passage.span for passage in found), key=of.position)
    assert all(a.document_id != b.document_id or a.end <= b.start for a, b in itertools.pairwise(ordered))
    alike = "".join(passage.text for passage in found).count("The lamp is lit.")
    assert alike == "".join(document.text for document in of.documents).count("The lamp is lit."), "none is left out"


def test_a_very_long_text_takes_the_memory_of_a_window(tiny: LocalEngine) -> None:
    retriever = ChunkFreeRetriever(tiny, window_tokens=2048, span_tokens=32, spans=2)
    tiny.open()
    assert tiny._session is not None
    tiny.forget()
    before = tiny._session.room()
    text = corpus("".join(f"On day {number} the sea shines over the island. " for number in range(600)))
    told: list[tuple[str, int, int]] = []
    watch = Watch(progress=lambda *step: told.append(step), namespace="long")
    assert retriever.retrieve("where does the light stand?", text, 2, watch)
    total = told[-1][2]
    assert total > 4 * 2048
    assert len(told) >= 5
    assert watch.read_tokens > total
    tiny.forget()
    assert tiny._session.room() == before

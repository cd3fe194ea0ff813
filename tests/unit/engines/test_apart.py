"""Long contexts that a small reader reads in pieces."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import adapters, tiny_models
from support.tiny_models import context, text_of

from turnout.engines import adapter, loading
from turnout.engines import folder as folders
from turnout.engines.apart import excerpts
from turnout.engines.local import LocalEngine
from turnout.engines.prompt import NUMBERED, REFUSAL, Excerpt, numbering, pieces
from turnout.types import Finished, GenerationParams, Prefilled

GREEDY = GenerationParams(max_tokens=12)
LONG = "The light stands on the island. " * 24
OTHER = "At night it shines over the sea. " * 12


def words(text: str) -> int:
    return len(text.split())


@given(st.lists(st.text("ab c.\n", max_size=200), min_size=1, max_size=4), st.integers(1, 20))
def test_pieces_are_the_numbered_text_cut_between_sentences(texts: list[str], most: int) -> None:
    whole = context(*texts)
    found = excerpts(whole, words, most)
    shown = "".join(text for _, text, _ in numbering(whole.parts))
    assert "".join("".join(piece.parts[0].text for piece in found).split()) == "".join(shown.split())
    assert all(piece.parts[0].text.startswith("[") for piece in found)
    assert {(piece.question, piece.task) for piece in found} <= {(whole.question, whole.task)}


def test_pieces_are_alike_in_size() -> None:
    sizes = [words(piece.parts[0].text) for piece in excerpts(context(LONG), words, 50)]
    assert len(sizes) == 4 and max(sizes) - min(sizes) <= 7
    assert excerpts(context("", " \n"), words) == []
    (giant,) = excerpts(context("word " * 200), words, 50)[:1]
    assert words(giant.parts[0].text) > 50


def test_a_title_stands_before_each_piece_of_several_documents() -> None:
    found = excerpts(context(LONG, OTHER), words, 50)
    shown = [pieces(piece, NUMBERED)[0].text for piece in found]
    assert [text.startswith("Document: Title 0\n[") for text in shown] == [True] * 4 + [False] * 2
    assert shown[4].startswith("Document: Title 1\n[25] At night")
    (alone, *_) = excerpts(context(LONG), words, 50)
    assert pieces(alone, NUMBERED)[0].text.startswith("[1] The light")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=4096)
    network = loading.load(folders.read(folder), "cpu", "float32", None)
    identity = adapter.identity(folders.read(folder), network)
    made = adapters.build(folder.parent / "adapter", network, identity, evidence="after")
    return LocalEngine(folder, device="cpu", dtype="float32", adapter=made)


def doubt(engine: LocalEngine, piece: Excerpt) -> float:
    with engine.sequence() as sequence:
        logits = sequence.prefill(engine.encode(piece))
    return float(logits.softmax(-1)[engine.tokenizer.encode_text(REFUSAL)[0]])


def test_the_answer_is_that_of_the_piece_that_is_surest(engine: LocalEngine) -> None:
    asked = context(LONG, OTHER)
    found = excerpts(asked, engine.count_text)
    assert len(found) > 2
    events = list(engine.generate(asked, GREEDY))
    surest = min(found, key=lambda piece: doubt(engine, piece))
    assert text_of(events) == text_of(engine.generate(surest, GREEDY)) != ""
    assert engine.answer_all([asked], GREEDY) == [text_of(events)]
    *_, last = events
    assert isinstance(last, Finished)
    assert last.prompt_tokens == engine.count(asked) == sum(map(engine.count, found))
    assert isinstance(events[0], Prefilled) and events[0].total == last.prompt_tokens
    assert engine.resident(asked) > 0.5 * last.prompt_tokens


def test_how_near_the_reader_was_to_refusing_is_told_of_the_last_answer(engine: LocalEngine) -> None:
    asked = context(LONG, OTHER)
    list(engine.generate(asked, GREEDY))
    found = excerpts(asked, engine.count_text)
    assert engine.doubt() == pytest.approx(min(doubt(engine, piece) for piece in found), rel=1e-3)
    list(engine.generate(found[-1], GREEDY))
    assert engine.doubt() == pytest.approx(doubt(engine, found[-1]), rel=1e-3)
    stopped = engine.generate(asked, GREEDY)
    next(stopped)
    stopped.close()
    assert engine.doubt() is None, "nothing was read to its end"


def test_nothing_is_held_afterwards_however_it_ends(engine: LocalEngine) -> None:
    engine.open()
    engine.forget()
    room = engine.admission.session.room()
    text_of(engine.generate(context(LONG, OTHER), GREEDY))
    stopped = engine.generate(context(LONG, OTHER), GREEDY)
    next(stopped)
    stopped.close()
    asked = iter([False, True])
    *_, last = engine.generate(context(OTHER, LONG), GREEDY, lambda: next(asked, True))
    assert isinstance(last, Finished) and last.reason == "cancelled"
    engine.forget()
    assert engine.admission.session.room() == room


@pytest.mark.parametrize("task", ["summarisation", "choice", "closed_book"])
def test_what_asks_for_no_fact_is_read_whole(engine: LocalEngine, task: str) -> None:
    assert len(engine.prompts(context(LONG, OTHER, task=task))) == 1
    assert len(engine.prompts(context(LONG, OTHER))) > 1


def test_a_reader_without_pages_or_numbers_reads_everything_at_once(engine: LocalEngine) -> None:
    plain = LocalEngine(Path(engine._path), device="cpu", dtype="float32")
    assert len(plain.prompts(context(LONG, OTHER))) == 1

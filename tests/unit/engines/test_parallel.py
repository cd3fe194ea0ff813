"""Answers of the local engine over segments that were read each by itself."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.engines.local import LocalEngine
from turnout.engines.parallel.kind import ParallelContext
from turnout.errors import Cancelled, EngineError, ModelError
from turnout.progress import Watch
from turnout.types import Finished, GenerationParams, Message

TEXTS = (
    "the light stands on the island and shines at night over the sea. " * 3,
    "the shore is far, and nobody lives there in winter. ",
    "at night the sea shines. " * 4,
)
PARAMS = GenerationParams(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("parallel") / "tiny")


@pytest.fixture(scope="module")
def made(folder: Path) -> LocalEngine:
    return engine(folder)


def engine(folder: Path, **options) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="float32", **options)


def over(made: LocalEngine, *texts: str, history: tuple[Message, ...] = (), **changes) -> ParallelContext:
    """A context of one document whose segments are the texts."""
    given = context("".join(texts))
    values = made.read_parallel(texts, history)
    fields = {"segments": tuple(zip(texts, values, strict=True)), "kind": made.parallel_kind(history)} | changes
    return ParallelContext(given.parts, given.question, history, given.task, **fields)


def test_one_segment_is_answered_as_the_text_itself(made: LocalEngine) -> None:
    kept, plain = over(made, TEXTS[0], temperature=1.0, scale=1.0), context(TEXTS[0])
    assert made.count(kept) == made.count(plain)
    given = made.parallel_prompt(kept)
    with made.sequence() as whole, made.parallel_sequence(given) as sequence:
        sequence.begin_prompt(given)
        (*_, (_, logits)) = sequence.read_prompt(given)
        assert (logits - whole.prefill(made.encode(plain))).abs().max() < 1e-4
    assert text_of(made.generate(kept, PARAMS)) == text_of(made.generate(plain, PARAMS))


def test_a_segment_is_the_same_whatever_is_read_beside_it(made: LocalEngine) -> None:
    together = made.read_parallel(TEXTS)
    for text, value in zip(TEXTS, together, strict=True):
        (alone,) = made.read_parallel([text])
        assert len(value) == len(made.placed(text)[0]) * made.parallel_kind().token_bytes
        first, second = (torch.frombuffer(bytearray(each), dtype=torch.float32) for each in (alone, value))
        assert torch.allclose(first, second, atol=1e-5)
    assert made.read_parallel([]) == []
    assert made.read_parallel([""]) == [b""]


def test_one_that_is_longer_than_a_step_is_read_in_several(folder: Path, made: LocalEngine) -> None:
    (short,), (long,) = engine(folder, chunk_tokens=16).read_parallel(TEXTS[:1]), made.read_parallel(TEXTS[:1])
    first, second = (torch.frombuffer(bytearray(each), dtype=torch.float32) for each in (short, long))
    assert torch.allclose(first, second, atol=1e-5)


def test_what_is_kept_is_not_read_and_answers_are_written_together_too(made: LocalEngine) -> None:
    made.forget()
    given = over(made, *TEXTS)
    kept = sum(len(made.placed(text)[0]) for text in TEXTS)
    (*_, finished) = made.generate(given, PARAMS)
    assert isinstance(finished, Finished)
    assert finished.prompt_tokens == made.count(given) > finished.cached_tokens >= kept
    others = [given, context(*TEXTS), replace(given, question="Who lives there?"), over(made, *TEXTS[::-1])]
    alone = [text_of(made.generate(each, PARAMS)) for each in others]
    made.forget()
    assert made.answer_all(others, PARAMS) == alone
    assert text_of(made.generate(replace(given, segments=()), PARAMS))


def test_earlier_turns_come_after_the_documents_and_a_systems_words_before(made: LocalEngine) -> None:
    turns = (Message("user", "Is it far?"), Message("assistant", "It is."))
    assert made.parallel_kind(turns) == made.parallel_kind()
    asked = over(made, *TEXTS, history=turns)
    assert made.parallel_prompt(asked).before == made.parallel_prompt(over(made, *TEXTS)).before
    assert text_of(made.generate(asked, PARAMS))
    said = (Message("system", "Be brief. \ue0f4\ue0f5"), *turns)
    assert made.parallel_kind(said) != made.parallel_kind()
    strict = over(made, *TEXTS, history=said)
    assert len(made.parallel_prompt(strict).before) > len(made.parallel_prompt(asked).before)
    with pytest.raises(EngineError, match="can't be read with"):
        made.count(replace(strict, kind=made.parallel_kind()))


def test_keys_and_values_of_something_else_are_refused(folder: Path, made: LocalEngine, tmp_path: Path) -> None:
    twin = engine(tiny_models.build(tmp_path / "twin", seed=1))
    with pytest.raises(EngineError, match="can't be read with"):
        made.count(over(twin, *TEXTS))
    given = over(made, TEXTS[0])
    ((name, value),) = given.segments
    with pytest.raises(EngineError, match="are no keys and values"):
        made.count(replace(given, segments=((name, value[:-1]),)))
    assert engine(folder).parallel_kind() == made.parallel_kind()


def test_only_models_whose_layers_look_at_everything_can(tmp_path: Path) -> None:
    windowed = engine(tiny_models.build(tmp_path / "windowed", architecture="mistral", sliding_window=64))
    assert not windowed.can_read_parallel()
    unpaged = engine(tiny_models.build(tmp_path / "unpaged", architecture="gpt_neox"))
    assert not unpaged.can_read_parallel()
    with pytest.raises(ModelError, match="do not lie in pages"):
        unpaged.read_parallel(TEXTS)


def test_giving_up_ends_it_and_leaves_nothing_taken(folder: Path) -> None:
    made, stop = engine(folder, chunk_tokens=64), threading.Event()
    made.open()
    room = made._session.room()
    with pytest.raises(Cancelled):
        made.read_parallel([TEXTS[0]] * 5, (), Watch(lambda: stop.is_set() or stop.set() or False))
    assert made._session.room() == room
    with pytest.raises(EngineError, match="over the window"):
        made.read_parallel(["night " * 600])

"""Given answers weighed over one text: as the model alone would say, whatever is read together."""

from pathlib import Path

import pytest
from support import tiny_models

from turnout.compression.reader_scorer import ByReader
from turnout.engines import local
from turnout.engines.local import LocalEngine
from turnout.engines.prompt import ChatMessage, Piece
from turnout.errors import Cancelled, ConfigurationError, EngineError, ModelError
from turnout.progress import Watch

TEXT = "the light stands on the island. it was lit by hand. the keeper left at dawn."
QUESTIONS = ["where does the light stand?", "who lit it, and when did the keeper leave the island?", "who?"]
ANSWERS = ("island", "keeper", "dawn")


def alone(engine: LocalEngine, question: str) -> list[float]:
    import torch

    message = ChatMessage("user", (Piece(TEXT, False), Piece("\n\n", True), Piece(question, False)))
    with engine.sequence() as sequence:
        logits = sequence.prefill(engine.tokenizer.encode([message]))
    columns = [engine.tokenizer.encode_text(answer)[0] for answer in ANSWERS]
    return torch.softmax(logits[columns].float(), -1).tolist()


def test_shares_are_those_of_each_question_alone(engine: LocalEngine) -> None:
    found = engine.weigh(TEXT, QUESTIONS, ANSWERS)
    for question, shares in zip(QUESTIONS, found, strict=True):
        assert sum(shares) == pytest.approx(1)
        assert shares == pytest.approx(alone(engine, question), abs=1e-4)


def test_more_questions_than_fit_a_step_are_weighed_all_the_same(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = engine.weigh(TEXT, QUESTIONS * 4, ANSWERS)
    monkeypatch.setattr("turnout.engines.weighing.STEP_TOKENS", 20)
    apart = engine.weigh(TEXT, QUESTIONS * 4, ANSWERS)
    for first, second in zip(together, apart, strict=True):
        assert first == pytest.approx(second, abs=1e-4)
    assert engine.weigh(TEXT, [], ANSWERS) == []


def test_a_text_is_found_again_only_under_the_name_that_it_was_read_under(engine: LocalEngine) -> None:
    engine.forget()
    read = []
    for name in ("acme", "acme", "brask", None):
        watch = Watch(namespace=name)
        engine.weigh(TEXT * 4, QUESTIONS, ANSWERS, watch)
        read.append(watch.read_tokens)
    assert read[1] < read[0] == read[2] == read[3]


def test_the_watch_hears_of_every_step_and_ends_it_after_one(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.engines.weighing.STEP_TOKENS", 20)
    engine.forget()
    whole = Watch()
    engine.weigh(TEXT, QUESTIONS, ANSWERS, whole)
    once = engine.tokenizer.count_text(TEXT)
    asked = sum(map(engine.tokenizer.count_text, QUESTIONS))
    assert once + asked < whole.read_tokens < once + asked + 20 * len(QUESTIONS)
    engine.forget()
    ended = Watch(lambda: True)
    with pytest.raises(Cancelled):
        engine.weigh(TEXT, QUESTIONS, ANSWERS, ended)
    assert 0 < ended.read_tokens <= engine.chunk
    assert engine.weigh(TEXT, QUESTIONS, ANSWERS)[0] == pytest.approx(alone(engine, QUESTIONS[0]), abs=1e-4)


def test_what_can_not_be_weighed_is_refused(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="begin with the same token"):
        engine.weigh(TEXT, QUESTIONS, ("island", "island"))
    with pytest.raises(EngineError, match="window"):
        engine.weigh("the light " * tiny_models.WINDOW, QUESTIONS, ANSWERS)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu")
    with pytest.raises(ModelError, match="can't weigh"):
        other.weigh(TEXT, QUESTIONS, ANSWERS)


def test_sentences_are_scored_by_the_reader_in_their_passage(engine: LocalEngine) -> None:
    scorer = ByReader(engine)
    (scored,) = scorer.score("who left?", [TEXT])
    assert len(scored.units) == 3 and all(0 < score < 1 for score in scored.scores)
    assert scored.relevance == max(scored.scores)
    # The same sentence in another passage is another question.
    (other,) = scorer.score("who left?", ["nobody ever came back. the keeper left at dawn."])
    assert other.scores[-1] != pytest.approx(scored.scores[-1], abs=1e-6)
    (headed,) = scorer.score("who left?", ["# The light\n\nthe keeper left at dawn."])
    assert headed.scores[0] == 0 < headed.scores[1]
    assert next(scorer.score("who left?", [""])).units == ()

"""Pointing at sentences: probabilities as the model alone gives them, over all sentences that there are."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models

from turnout.contracts import Locates
from turnout.engines import local, locating
from turnout.engines.local import LocalEngine
from turnout.engines.locating import Stretch
from turnout.errors import Cancelled, ConfigurationError, EngineError, ModelError
from turnout.progress import Watch

TEXT = [
    "the light stands on the island. ",
    "the light stands on the sea.\n\n",
    "it was lit by hand. ",
    "Yes. ",
    "the keeper left at dawn. ",
    "Yes. ",
    "the light stands on the island.",
]
QUESTION = "where does the light stand?"


def locate(engine: LocalEngine, sentences: Sequence[str] = TEXT, limit: int = 99, longest: int = 40) -> list[Stretch]:
    return engine.locate(sentences, QUESTION, limit, longest)


def logits(engine: LocalEngine, ids: list[int]) -> Any:
    """[ids, vocabulary], by one sequence that reads it all."""
    with engine.sequence() as sequence:
        return sequence.append(ids, logits=range(len(ids))).double()


def by_hand(engine: LocalEngine, sentences: Sequence[str]) -> dict[int, float]:
    """The probability of each opening, one sentence at a time, over a trie of whole sentences."""
    asked = locating.asked(engine.tokenizer, sentences, QUESTION)
    ends = sorted(engine.end_tokens)
    paths = {}
    for first, alone in enumerate(asked.alone):
        rest = [token for after in asked.after[first + 1 :] for token in after]
        paths[first] = [*alone, *rest, ends[0]][: locating.OPENING_TOKENS]
    found = {}
    for first, path in paths.items():
        rows = logits(engine, asked.ids + path)[len(asked.ids) - 1 :]
        score = 0.0
        for depth, token in enumerate(path):
            among = sorted({other[depth] for other in paths.values() if other[:depth] == path[:depth]})
            score += float(rows[depth][among].log_softmax(-1)[among.index(token)])
        found[first] = math.exp(score) / sum(other == path for other in paths.values())
    return found


def test_scores_are_the_probabilities_of_the_openings_and_add_up_to_one(engine: LocalEngine) -> None:
    found = locate(engine)
    assert isinstance(engine, Locates)
    expected = by_hand(engine, TEXT)
    assert {stretch.first: stretch.score for stretch in found} == pytest.approx(expected, rel=1e-3)
    assert sum(stretch.score for stretch in found) == pytest.approx(1)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


def test_the_likeliest_are_the_same_whatever_the_limit(engine: LocalEngine) -> None:
    found = locate(engine)
    for limit in range(len(TEXT)):
        assert locate(engine, limit=limit) == found[:limit]


def test_a_stretch_ends_where_the_model_would_most_likely_end_its_answer(engine: LocalEngine) -> None:
    asked = locating.asked(engine.tokenizer, TEXT, QUESTION)
    several = 0
    for stretch in locate(engine, longest=30):
        ids, shares = asked.alone[stretch.first], []
        for after in [*asked.after[stretch.first + 1 :], [0] * 99]:
            row = logits(engine, asked.ids + ids)[-1]
            shares.append(float(row.softmax(-1)[sorted(engine.end_tokens)].sum()))
            if len(ids) + len(after) > 30:
                break
            ids = ids + after
        assert stretch.end == stretch.first + 1 + shares.index(max(shares))
        several += len(shares) > 1
    assert several >= 3


def test_sentences_are_encoded_as_they_stand_in_the_text(engine: LocalEngine) -> None:
    asked = locating.asked(engine.tokenizer, [" Ä b. ", "\n\n", "c\u3000", "鍵。"], "q")
    assert engine.tokenizer.decode([t for after in asked.after for t in after]) == " Ä b. \n\nc\u3000鍵。"
    assert [engine.tokenizer.decode(alone) for alone in asked.alone] == ["Ä b.", "", "c", "鍵。"]


def test_openings_end_early_and_many_are_followed_together(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from turnout.engines.paged.session import Session

    steps: list[list[int]] = []
    step = Session.step

    def counted(self: Session, feeds: Any, *rest: Any, **options: Any) -> Any:
        steps.append([sum(map(len, fragments)) for _, fragments, _ in feeds])
        return step(self, feeds, *rest, **options)

    monkeypatch.setattr(Session, "step", counted)
    locate(
        engine, [f"{word} shines at night over the sea. " for word in ("sand", "light", "island", "hand")], longest=1
    )
    openings = [sizes for sizes in steps if len(sizes) > 1]
    assert sum(map(sum, openings)) <= 8, "a few tokens tell four sentences apart"
    assert len(openings) <= 4


def test_the_text_is_read_once_and_branches_leave_no_trace(engine: LocalEngine) -> None:
    text = [f"{sentence} once. " for sentence in TEXT] * 2
    first, again = Watch(), Watch()
    engine.locate(text, QUESTION, 3, 30, watch=first)
    engine.locate(text, "who left at dawn?", 3, 30, watch=again)
    asked = locating.asked(engine.tokenizer, text, QUESTION)
    assert first.read_tokens > len(asked.ids)
    branches = first.read_tokens - len(asked.ids)
    assert again.read_tokens < branches + 0.6 * len(asked.ids), "what another question has read is not read again"
    assert engine.locate(text, QUESTION, 3, 30) == engine.locate(text, QUESTION, 3, 30, namespace="other")


def test_giving_up_between_any_two_steps_gives_the_pages_back(engine: LocalEngine) -> None:
    assert engine._session is not None
    engine.forget()
    room = engine._session.room()
    for most in range(60):
        steps: list[int] = []

        def stopped(steps: list[int] = steps, most: int = most) -> bool:
            steps.append(1)
            return len(steps) > most

        watch = Watch(stopped)
        try:
            engine.locate(TEXT, QUESTION, 4, 30, f"given up after {most}", watch)
        except Cancelled:
            assert watch.read_tokens > 0
        else:
            break
        finally:
            engine.forget()
            assert engine._session.room() == room
    assert 3 < most < 59


def test_identical_sentences_share_their_probability_in_document_order(engine: LocalEngine) -> None:
    found = locate(engine, ["the sea. "] * 60)
    alike = [stretch.first for stretch in found if stretch.score == found[-1].score]
    assert alike == list(range(len(alike)))
    assert len(alike) > 40, "but for the last, which the end of the text tells apart"
    assert sum(stretch.score for stretch in found) == pytest.approx(1)


@pytest.mark.parametrize(
    "text",
    [
        ["鍵は三段目の下にある。", "灯台は島に立つ。", "鍵は海にある。"],
        ["المفتاح تحت الدرجة. ", "المنارة على الجزيرة. "],
        ["\u202eab. ", "e\u0301. ", "🏮🏮"],
    ],
)
def test_any_script_has_openings(engine: LocalEngine, text: list[str]) -> None:
    found = locate(engine, text)
    assert sorted(stretch.first for stretch in found) == list(range(len(text)))
    assert all(stretch.first < stretch.end <= len(text) for stretch in found)


def test_nothing_to_point_at(engine: LocalEngine) -> None:
    assert locate(engine, []) == []
    assert locate(engine, [" ", "\n"]) == []
    assert locate(engine, limit=0) == []
    assert locate(engine, ["Yes."]) == [Stretch(0, 1, 1.0)]


def test_what_can_not_be_pointed_at_is_refused(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="question is empty"):
        engine.locate(TEXT, " \n", 3, 30)
    with pytest.raises(EngineError, match="window"):
        locate(engine, ["the light "] * tiny_models.WINDOW)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu")
    with pytest.raises(ModelError, match="can't point at sentences"):
        locate(other)


def test_a_model_that_foretells_no_numbers_is_an_error(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from turnout.engines.paged.session import Session

    step = Session.step
    monkeypatch.setattr(Session, "step", lambda *a, **k: step(*a, **k) * math.nan)
    with pytest.raises(EngineError, match="no number"):
        locate(engine)

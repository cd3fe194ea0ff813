"""Several answers at once, some drafted by a reader of passages, some looked up, are those of one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.serving import at_once
from support.speculation import Eager
from support.tiny_models import context, text_of

from turnout.engines.local import LocalEngine
from turnout.engines.paged.sequence import KvSequence
from turnout.engines.speculative.plan import DraftedContext, Speculation
from turnout.types import Context, GenerationParams, Token

GREEDY = GenerationParams(max_tokens=24)
SAMPLED = replace(GREEDY, temperature=0.7, seed=5)
SAID = ("the light stands on the island and shines at night", "the sea is wide and the night is long", "an island")


def drafted(number: int, how: Speculation) -> DraftedContext:
    whole = context(f"{SAID[number % 3]} " * (3 + number), question=f"Why {number}?", task="summarisation")
    draft = context(SAID[number % 2] * 2).parts
    return DraftedContext(whole.parts, whole.question, task=whole.task, draft=draft, how=how)


HOWS = (Speculation(confidence=0.0), Speculation("steered", eta=6.0, gamma=4), Speculation("paper", eta=6.0, gamma=3))
REQUESTS: list[tuple[Context, GenerationParams]] = [
    *((drafted(number, HOWS[number % 3]), SAMPLED if number % 2 else GREEDY) for number in range(8)),
    *((context(f"{SAID[number % 3]} " * 5, question=f"Where is {number}?"), GREEDY) for number in range(6)),
    *((context(SAID[number], question=f"What is {number}?"), SAMPLED) for number in range(2)),
]


@pytest.fixture
def engine(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """One that proposes whatever it can, also where others share its steps."""
    engine = LocalEngine(tiny_folder, device="cpu", chunk_tokens=64, dtype="float32")
    engine._authors._pace_of_lookups = engine._authors._pace_of_drafts = Eager()
    monkeypatch.setattr(LocalEngine, "at_once", 1)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def wanted(tiny_folder: Path) -> list[str]:
    """One after the other; what is lossless or looked up, as the target alone writes it."""
    serial = LocalEngine(tiny_folder, device="cpu", dtype="float32", lookup=False)
    found = []
    for asked, params in REQUESTS:
        if isinstance(asked, DraftedContext) and asked.how == HOWS[0] and not params.temperature:
            asked = Context(asked.parts, asked.question, asked.history, asked.task)
        found.append(text_of(serial.generate(asked, params)))
    serial.close()
    return found


def test_they_are_those_of_one_after_the_other(
    engine: LocalEngine, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = 0
    plain = KvSequence.follow

    def follow(self: KvSequence, places: list[int], *, more: int = 0) -> None:
        nonlocal trees
        trees += 1
        plain(self, places, more=more)

    monkeypatch.setattr(KvSequence, "follow", follow)
    room = engine._session.room()

    def answer(asked: Context, params: GenerationParams) -> tuple[str, int]:
        text = text_of(engine.generate(asked, params))
        return text, engine.drafted().drafted

    found = at_once([lambda asked=asked, params=params: answer(asked, params) for asked, params in REQUESTS])
    assert [text for text, _ in found] == wanted
    assert all(drafted for _, drafted in found), "each of them was proposed something"
    assert trees > 0, "some of it in several ways"
    engine.forget()
    assert engine._session.room() == room
    assert (engine.in_flight().running, engine._opened().scheduler.at_once) == (0, 0)


def test_those_that_are_given_up_among_them_change_no_other(engine: LocalEngine, wanted: list[str]) -> None:
    def answer(place: int) -> str:
        said = ""
        events = engine.generate(*REQUESTS[place])
        for event in events:
            if isinstance(event, Token):
                said += event.text
                if place % 3 == 0:
                    events.close()
        return said

    room = engine._session.room()
    found = at_once([lambda place=place: answer(place) for place in range(len(REQUESTS))])
    for place, (said, whole) in enumerate(zip(found, wanted, strict=True)):
        assert whole.startswith(said) if place % 3 == 0 else said == whole, place
    engine.forget()
    assert engine._session.room() == room


def test_lookups_propose_nothing_while_others_are_answered(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    engine._authors._pace_of_lookups = Eager()
    for others, proposes in ((2, False), (1, True)):
        monkeypatch.setattr(LocalEngine, "at_once", others)
        list(engine.generate(*REQUESTS[8]))
        assert (engine.drafted().drafted > 0) is proposes
    engine.close()

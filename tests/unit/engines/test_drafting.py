"""An engine answers a drafted context as its mode says, and refuses what can't be."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_models
from support.speculation import Eager
from support.tiny_models import context, text_of

from turnout.contracts import Drafts
from turnout.engines import local
from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.engines.speculative.plan import DraftedContext, Speculation
from turnout.errors import ConfigurationError, EngineError, EngineTimeoutError, MemoryLimitError
from turnout.types import Context, Finished, GenerationParams, Prefilled, Token

TEXT = "The light stands on the island and shines at night over the sea. " * 5
PARAMS = GenerationParams(max_tokens=32)


def asked(how: Speculation | None = None, draft: str = "the light stands on the island") -> DraftedContext:
    whole = context(TEXT, task="summarisation")
    parts = context(draft).parts if draft else ()
    return DraftedContext(whole.parts, whole.question, task=whole.task, draft=parts, how=how or Speculation())


def plain(of: DraftedContext) -> Context:
    return Context(of.parts, of.question, of.history, of.task)


def test_the_answer_is_that_of_the_whole_context(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._authors, "_pace_of_drafts", Eager())
    for draft in ("the light", TEXT):
        given = asked(Speculation(confidence=0.0), draft)
        events = list(engine.generate(given, PARAMS))
        assert text_of(events) == text_of(engine.generate(plain(given), PARAMS)) != ""
        last = events[-1]
        assert isinstance(last, Finished) and last.prompt_tokens == engine.count(plain(given))
        read = [event for event in events if isinstance(event, Prefilled)]
        assert read[-1].done == read[-1].total > last.prompt_tokens
    list(engine.generate(given, PARAMS))
    counts = engine.drafted()
    assert counts.rate == 1.0 and counts.accepted > 5, "with the same text both say the same"


def test_steering_changes_the_answer_and_a_seed_repeats_it(engine: LocalEngine) -> None:
    how = Speculation("steered", eta=20.0, gamma=4)
    params = replace(PARAMS, temperature=0.8, seed=4)
    first, second = (text_of(engine.generate(asked(how, "sea " * 9), params)) for _ in range(2))
    assert first == second
    assert first != text_of(engine.generate(asked(how, "sea " * 9), replace(params, seed=5)))


def test_without_passages_or_pages_it_is_read_as_a_context(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = asked(draft="")
    assert text_of(engine.generate(given, PARAMS)) == text_of(engine.generate(plain(given), PARAMS))
    assert engine.drafted().drafted == 0
    assert isinstance(engine, Drafts) and engine.can_draft() and not isinstance(FakeEngine(), Drafts)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "other"), device="cpu", dtype="float32")
    assert not other.can_draft()
    assert text_of(other.generate(asked(), PARAMS)) == text_of(engine.generate(plain(given), PARAMS))


def test_a_stop_string_across_a_round_ends_the_answer(engine: LocalEngine) -> None:
    given = asked(Speculation(confidence=0.0), TEXT)
    text = text_of(engine.generate(plain(given), PARAMS))
    for start in range(0, len(text) - 4, 5):
        params = replace(PARAMS, stop=(text[start : start + 4],))
        events = list(engine.generate(given, params))
        assert text_of(events) == text[: text.index(params.stop[0])]
        assert events[-1].reason == "stop"


def test_a_caller_that_gives_up_gets_no_more(engine: LocalEngine) -> None:
    given = asked(Speculation(confidence=0.0), TEXT)
    whole = text_of(engine.generate(plain(given), PARAMS))
    for patience in (0, 1, 3, 8, 20):
        left = iter(range(patience))
        events = list(engine.generate(given, PARAMS, lambda left=left: next(left, None) is None))
        assert events[-1].reason == "cancelled"
        assert whole.startswith(text_of(events))
    half = engine.generate(given, PARAMS)
    while not isinstance(next(half), Token):
        pass
    half.close()
    assert engine.in_flight().running == 0
    assert text_of(engine.generate(given, PARAMS)) == whole


def test_limits_of_time_window_and_memory_hold(tiny_folder: Path) -> None:
    small = LocalEngine(tiny_folder, device="cpu", dtype="float32", pool_bytes=2**20)
    with pytest.raises(EngineTimeoutError):
        list(small.generate(asked(), replace(PARAMS, timeout_s=1e-9)))
    with pytest.raises(EngineError, match="over the window"):
        list(small.generate(asked(), replace(PARAMS, max_tokens=510)))
    page = small.admission.footprint.cache(1)
    tokens = small.count(plain(asked())) + PARAMS.max_tokens
    tight = LocalEngine(tiny_folder, device="cpu", dtype="float32", pool_bytes=(tokens // 64 + 1) * page)
    assert text_of(tight.generate(plain(asked()), PARAMS))
    with pytest.raises(MemoryLimitError):
        list(tight.generate(asked(), PARAMS))


def test_a_drafter_with_the_same_tokens_drafts(tiny_folder: Path, tmp_path: Path, engine: LocalEngine) -> None:
    small = LocalEngine(tiny_models.build(tmp_path / "small", seed=3, num_hidden_layers=1), dtype="float32")
    both = LocalEngine(tiny_folder, device="cpu", dtype="float32", drafter=small)
    given = asked(Speculation(confidence=0.0))
    assert text_of(both.generate(given, PARAMS)) == text_of(engine.generate(plain(given), PARAMS))
    assert both.drafted().drafted > 0


def test_a_drafter_with_other_tokens_is_refused_by_both_names(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tiny_models.build(tmp_path / "stranger")
    tokens = (folder / "tokenizer.json").read_text(encoding="utf-8").replace("<think>", "<thought>")
    (folder / "tokenizer.json").write_text(tokens, encoding="utf-8")
    both = LocalEngine(tiny_folder, name="target", drafter=LocalEngine(folder, name="stranger"), dtype="float32")
    with pytest.raises(ConfigurationError, match=r"stranger can't draft for target.*<th") as refused:
        list(both.generate(asked(), PARAMS))
    assert refused.value.hint
    assert text_of(both.generate(plain(asked()), PARAMS)), "nothing is drafted, so nothing is wrong"

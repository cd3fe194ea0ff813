"""An engine that reads prompts by an attention policy: what it keeps, how it is named, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.config import Settings
from turnout.engines import calibrated, open_engine
from turnout.engines.local import LocalEngine
from turnout.engines.paged import sparse
from turnout.engines.paged.patterns import Antidiagonal, Mass, Pages, Pattern, Span
from turnout.engines.paged.policy import AttentionPolicy, everywhere, split
from turnout.engines.probe import measure
from turnout.errors import ConfigurationError, ModelError
from turnout.types import GenerationParams

GREEDY = GenerationParams(max_tokens=8)
STREAMING = everywhere(Pattern(Span(4, 32)))
WHOLE = everywhere(Pattern(Mass(1.0), Antidiagonal(8), block=64))
LONG = context("the light stands on the island and shines at night over the sea " * 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models") / "wide", hidden_size=64)


def engine(folder: Path, attention: calibrated.Chosen = None, disk: Path | None = None) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="float32", chunk_tokens=64, attention=attention, disk=disk)


def test_a_policy_that_covers_everything_answers_as_dense_does(folder: Path) -> None:
    dense, whole, streaming = (engine(folder, policy) for policy in (None, WHOLE, STREAMING))
    answers = [text_of(one.generate(LONG, GREEDY)) for one in (dense, whole, streaming)]
    assert answers[0] == answers[1] != ""
    assert answers[2] == streaming.answer_all([LONG], GREEDY)[0]
    ids = dense.encode(LONG)
    logits = [one.sequence("cold").prefill(ids) for one in (dense, whole, streaming)]
    assert (logits[0] - logits[1]).abs().max() < 1e-4 < (logits[0] - logits[2]).abs().max()


def test_a_policy_is_part_of_the_model_and_dense_is_not(folder: Path) -> None:
    names = [engine(folder, policy).model.fingerprint for policy in (None, AttentionPolicy(), STREAMING, WHOLE)]
    assert names[0] == names[1] and len(set(names)) == 3
    assert engine(folder, STREAMING).dense_fingerprint == names[0]
    assert engine(folder, everywhere(None)).attention is None


def test_new_tokens_may_look_at_chosen_pages_of_a_prompt_that_was_read_densely(folder: Path, tmp_path: Path) -> None:
    few, all_of_them = (AttentionPolicy(decode=Pages(pages, 1, start=0, dense_layers=0)) for pages in (4, 64))
    dense, some, whole = (engine(folder, policy, tmp_path / "kv") for policy in (None, few, all_of_them))
    assert len({one.model.fingerprint for one in (dense, some, whole)}) == 3
    assert text_of(dense.generate(LONG, GREEDY)) == text_of(whole.generate(LONG, GREEDY))
    assert some.resident(LONG) == 256, "what dense reading has left"
    ids = dense.encode(LONG)
    logits = []
    for one in (dense, some):
        sequence = one.sequence("apart")
        sequence.prefill(ids)
        logits.append(sequence.append([7]))
        sequence.close(keep=False)
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    assert text_of(some.generate(LONG, GREEDY)) == some.answer_all([LONG], GREEDY)[0] != ""
    assert some.memory_bytes(400, 0) > dense.memory_bytes(400, 0)


def test_on_disk_and_in_memory_dense_and_sparse_stay_apart(folder: Path, tmp_path: Path) -> None:
    first, second, third = (engine(folder, policy, tmp_path / "kv") for policy in (STREAMING, STREAMING, None))
    text_of(first.generate(LONG, GREEDY))
    assert first.resident(LONG) >= 256 and first.resident(LONG) % 64 == 0
    assert second.resident(LONG) == 256 and third.resident(LONG) == 0
    (*_, done) = second.generate(LONG, GREEDY)
    assert done.cached_tokens == 256
    assert text_of(second.generate(LONG, GREEDY)) == text_of(engine(folder, STREAMING).generate(LONG, GREEDY))
    text_of(third.generate(LONG, GREEDY))
    # Read densely by both, whatever prompts are read with.
    weighed = [one.weigh("the light " * 40, ["Where?"], ["sea", "island"]) for one in (first, third)]
    assert weighed[0][0] == pytest.approx(weighed[1][0], abs=1e-5)


def test_more_memory_is_asked_for_than_dense_reading_takes(folder: Path) -> None:
    assert engine(folder, STREAMING).memory_bytes(400, 0) > engine(folder).memory_bytes(400, 0)


def test_what_a_model_can_not_be_read_with_is_refused_before_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    for policy, said in (
        (split([[True]], Span()), "1 layers"),
        (everywhere(Pattern(Mass(), Antidiagonal())), "chunks of 64"),
    ):
        refused = engine(folder, policy)
        with pytest.raises(ConfigurationError, match=said):
            refused.open()
        assert refused._loaded is None
    narrow = LocalEngine(tiny_models.build(tmp_path / "narrow"), device="cpu", attention=STREAMING)
    with pytest.raises(ModelError, match="heads of 8 numbers"):
        narrow.open()
    other = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    apart = LocalEngine(tiny_models.build(tmp_path / "dynamic", rope_parameters=other), attention=STREAMING)
    with pytest.raises(ModelError, match="do not lie in pages"):
        apart.model  # noqa: B018


def test_costs_are_measured_as_prompts_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    attended = sparse.attended
    monkeypatch.setattr(sparse, "attended", lambda layer, *rest: (seen.append(layer.index), attended(layer, *rest))[1])
    for policy, layers in ((None, set()), (STREAMING, {0, 1})):
        one = engine(folder, policy)
        samples = measure(one, budget_s=0.0)
        assert [offset for offset, _, _ in samples.prefill] == [0, 64, 384] and len(samples.decode) >= 2
        assert set(seen) == layers
        assert one._session is not None and len(one._session._residency._tree) == 0


def test_settings_choose_the_calibrated_policy_of_the_model_on_this_machine(folder: Path, home: Path) -> None:
    def opened(attention: str | None = None) -> LocalEngine:
        found = open_engine(Settings.load(model=str(folder), device="cpu", attention=attention))
        assert isinstance(found, LocalEngine)
        return found

    assert opened().attention is None
    path = calibrated.save(home, opened().dense_fingerprint, {"policy": STREAMING.to_dict()})
    assert opened().attention == STREAMING
    assert opened("dense").attention is None
    assert opened(str(path)).attention == STREAMING
    calibrated.save(home, opened().dense_fingerprint, {"policy": WHOLE.to_dict()})
    assert opened().attention == WHOLE and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 99, "policy": {}}', '{"version": 1, "policy": {}}'])
def test_a_damaged_calibration_says_what_to_do(folder: Path, home: Path, text: str) -> None:
    path = calibrated.save(home, "m", {"policy": STREAMING.to_dict()})
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        calibrated.of_model(home, "m")
    assert "calibrate attention" in caught.value.hint
    with pytest.raises(ConfigurationError, match="can't be read"):
        calibrated.chosen(Settings.load(attention=home / "none.json"))
    assert calibrated.of_model(home, "another") is None
    assert json.loads(calibrated.save(home, "m", {"policy": {}}).read_text())["version"] == calibrated.VERSION

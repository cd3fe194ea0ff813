"""The probe's samples are those of one prefill."""

from pathlib import Path

from turnout.engines.local import LocalEngine
from turnout.engines.probe import DECODE_STEPS, measure


def test_chunks_follow_each_other_and_decode_is_measured_at_both_ends(engine: LocalEngine):
    samples = measure(engine, budget_s=60.0)
    offsets = [offset for offset, _, _ in samples.prefill]
    sizes = [tokens for _, tokens, _ in samples.prefill]
    assert offsets[0] == 0
    assert offsets[1] == sizes[0] + DECODE_STEPS
    assert all(seconds > 0 for _, _, seconds in samples.prefill)
    (short, _), (long, _) = samples.decode
    assert sizes[0] == short < long <= engine.model.window


def test_the_budget_ends_it_after_two_chunks(engine: LocalEngine):
    assert len(measure(engine, budget_s=0.0).prefill) == 2


def test_loading_is_measured_apart(tiny_folder: Path):
    fresh = LocalEngine(tiny_folder, device="cpu")
    assert measure(fresh).load_s > 10 * measure(fresh).load_s

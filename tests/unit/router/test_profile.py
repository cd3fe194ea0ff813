import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from turnout.config import Settings
from turnout.database import Database
from turnout.engines.device import machine
from turnout.engines.probe import CostSamples
from turnout.router.profile import UNMEASURED_REMOTE, fit, load_or_measure
from turnout.types import ModelInfo

MODEL = ModelInfo("m", 8192, "fp")


def samples(per_token: float = 5e-4, per_pair: float = 1e-7, token: float = 0.03, slope: float = 1e-5) -> CostSamples:
    chunk = 512
    prefill = [(o, chunk, chunk * (per_token + per_pair * (o + chunk / 2))) for o in range(0, 4096, chunk)]
    return CostSamples(prefill=prefill, decode=[(64, token + slope * 64), (4096, token + slope * 4096)], load_s=1.0)


def test_the_curve_is_recovered_from_exact_samples() -> None:
    profile = fit(samples())
    assert profile.per_token_s == pytest.approx(5e-4)
    assert profile.per_pair_s == pytest.approx(1e-7)
    assert profile.decode_seconds(1000, 10) == pytest.approx(10 * (0.03 + 1e-5 * 1000))
    # A prefill is the sum of its chunks: 4096 tokens at 5e-4 each and 1e-7 for each pair.
    assert profile.prefill_seconds(4096) - profile.prefill_s == pytest.approx(4096 * 5e-4 + 1e-7 * 4096**2 / 2)


def test_a_noisy_downward_slope_is_flat_not_negative() -> None:
    profile = fit(samples(per_pair=-1e-8))
    assert profile.per_pair_s == 0
    assert profile.prefill_seconds(100_000) > profile.prefill_seconds(10)


def test_a_profile_is_measured_once_per_model_and_machine(tmp_path: Path) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    calls = []

    def measure() -> CostSamples:
        calls.append(1)
        return samples()

    first = load_or_measure(database, MODEL, measure)
    assert load_or_measure(database, MODEL, measure) == first
    assert len(calls) == 1
    load_or_measure(database, ModelInfo("m", 8192, "other"), measure)
    assert len(calls) == 2
    database.close()


def test_a_profile_stored_before_windows_existed_is_read_not_measured_again(tmp_path: Path) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    stored = fit(samples()).record()
    del stored["windows"]
    with database.write() as connection:
        connection.execute(
            sa.text("INSERT INTO profiles (key, value, created) VALUES (:key, :value, 0)"),
            {"key": f"cost/1/fp/{machine()}", "value": json.dumps(stored)},
        )
    profile = load_or_measure(database, MODEL, lambda: pytest.fail("measured again"))
    assert profile == fit(samples())
    assert profile.windows == {}
    database.close()


def test_a_server_is_never_probed_and_says_so(tmp_path: Path) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    profile = load_or_measure(database, MODEL, None)
    assert profile is UNMEASURED_REMOTE
    assert profile.measured is None
    database.close()

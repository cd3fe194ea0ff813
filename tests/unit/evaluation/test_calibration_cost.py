"""`turnout calibrate cost`, its facade and the curves it keeps."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import tiny_models

from turnout import calibrate as facade
from turnout.cli.calibrate import calibrate
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.errors import ConfigurationError
from turnout.router.calibration import cost
from turnout.router.profile import load_or_measure


def slow() -> FakeEngine:
    return FakeEngine(["one two three four five six"], chunk_s=0.02, token_s=0.01)


def test_a_server_gets_a_line_through_its_prompts_that_later_decisions_rest_on(home: Path) -> None:
    engine = slow()
    found = facade.cost(engine=engine, repeats=2, max_tokens=2048)
    assert [row["tokens"] for row in found["prefill"]] == sorted(row["tokens"] for row in found["prefill"])
    assert 0.5 < found["off"]["p50"] < 1.5
    curves = found["curves"]
    # 512 tokens in 20 ms, and 10 ms for each new one.
    assert 0.5 * 0.02 / 512 < curves["per_token_s"] < 2 * 0.02 / 512
    assert 0.009 < curves["token_s"] < 0.03
    database = Database.at(Settings.load(home=home))
    kept = load_or_measure(database, engine.model, lambda: pytest.fail("measured again"))
    database.close()
    assert (kept.per_token_s, kept.token_s) == (curves["per_token_s"], curves["token_s"])
    assert kept.measured is not None


def test_the_local_engine_is_measured_over_its_window(home: Path, tmp_path: Path) -> None:
    told = []
    engine = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu", chunk_tokens=16)
    found = facade.cost(engine=engine, repeats=2, progress=lambda *at: told.append(at))
    assert told[-1][1] == told[-1][2] == 2 * tiny_models.WINDOW
    longest = found["prefill"][-1]["tokens"]
    assert tiny_models.WINDOW * 0.6 < longest <= tiny_models.WINDOW
    assert found["repeats"] == 2
    assert all(row["seconds"] > 0 and row["fitted"] > 0 for row in found["prefill"] + found["decode"])


def test_the_command_shows_measured_beside_fitted(home: Path) -> None:
    run = CliRunner().invoke(calibrate, ["cost", "--model", "fake", "--max-tokens", "512", "--repeats", "1"])
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["prompt", "tokens", "seconds", "fitted", "tokens/s"]
    assert "measured over fitted: median" in lines[-1]
    assert f"saved in {home / 'turnout.db'}, in the profile of fake" in run.stderr
    as_json = CliRunner().invoke(calibrate, ["cost", "--model", "fake", "--max-tokens", "512", "--json"])
    assert json.loads(as_json.stdout)["repeats"] == 3


@pytest.mark.parametrize(("options", "said"), [({"repeats": 0}, "repeats is 0"), ({"max_tokens": 300}, "up to 300")])
def test_what_can_not_be_measured_is_refused(home: Path, options: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        facade.cost(engine=slow(), **options)


def test_sizes_double_up_to_what_fits() -> None:
    assert cost.sizes(FakeEngine(window=2048), None) == [256, 512, 1024]
    assert cost.sizes(FakeEngine(window=100_000), 4096) == [256, 512, 1024, 2048, 4096]
    with pytest.raises(ConfigurationError):
        cost.sizes(FakeEngine(window=512), None)

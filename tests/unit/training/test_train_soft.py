"""Training soft tokens from data to weights, on a tiny model; and the weights in the engine."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import tiny_models, training_data
from support.tiny_models import context

from turnout import train
from turnout.cli.train import train as command
from turnout.engines.local import LocalEngine
from turnout.errors import ConfigurationError
from turnout.train import SoftRecipe
from turnout.training import soft as training

pytest.importorskip("peft")

RECIPE = SoftRecipe(max_tokens=512, answer_tokens=8, batch_tokens=1024, rank=4, alpha=8, learning_rate=2e-3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(model, data, finished run)"""
    root = tmp_path_factory.mktemp("soft")
    model = tiny_models.build(root / "tiny", max_position_embeddings=1024, initializer_range=0.2)
    written = training_data.write(root / "data", *training_data.rows(42))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MICRO_TOKENS", 512)
        train.soft(written, root / "run", str(model), recipe=RECIPE, limit=6, device="cpu")
    return model, written, root / "run"


def test_a_run_leaves_weights_card_curve_and_scores(folders: tuple[Path, Path, Path]) -> None:
    _, _, run = folders
    card = json.loads((run / "soft/card.json").read_text())
    assert (card["kind"], card["rate"], card["piece_tokens"]) == ("soft", 2, 20)
    assert card["training"]["steps"] > 5 and card["recipe"]["rank"] == 4
    losses = [row["valid_loss"] for row in card["curve"] if "valid_loss" in row]
    assert losses[-1] < losses[0]
    scores = card["valid"]
    assert scores == json.loads((run / "valid.json").read_text())
    assert scores["trained"]["loss"] < scores["mean"]["loss"] < scores["empty"]["loss"]
    assert 0 <= scores["trained"]["agree"] <= 1
    assert (run / "soft/adapter_model.safetensors").stat().st_size < 100_000


def test_the_weights_make_other_soft_tokens_and_leave_the_reader_as_it_was(folders: tuple[Path, Path, Path]) -> None:
    model, _, run = folders
    trained, mean = (
        LocalEngine(model, device="cpu", dtype="float32", soft=kind) for kind in (str(run / "soft"), "mean:2")
    )
    piece = [list(range(5, 25))]
    assert len(trained.soften(piece)[0]) == len(mean.soften(piece)[0])
    assert trained.soften(piece) != mean.soften(piece)
    asked = context("the light stands on the island")
    with trained.sequence() as here, mean.sequence() as there:
        import torch

        assert torch.equal(here.prefill(trained.encode(asked)), there.prefill(mean.encode(asked)))


def test_the_same_call_again_trains_nothing(folders: tuple[Path, Path, Path]) -> None:
    model, written, run = folders
    before = (run / "soft/card.json").stat().st_mtime_ns
    train.soft(written, run, str(model), recipe=RECIPE, limit=6, device="cpu")
    assert (run / "soft/card.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigurationError, match="another recipe"):
        train.soft(written, run, str(model), recipe=SoftRecipe(rate=4), limit=6, device="cpu")


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_checkpoints_are_small(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, written, run = folders
    monkeypatch.setattr(training, "MICRO_TOKENS", 512)
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "soft")
    last = max((again / "checkpoints").iterdir(), key=lambda folder: int(folder.name.rpartition("-")[2]))
    weights = next(last.glob("*.safetensors"))
    assert weights.stat().st_size < 100_000
    shutil.rmtree(last)
    train.soft(written, again, str(model), recipe=RECIPE, limit=6, device="cpu")
    before, after = (json.loads((each / "valid.json").read_text()) for each in (run, again))
    assert after["trained"]["loss"] == pytest.approx(before["trained"]["loss"], rel=1e-3)


def test_bad_input(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rate of 3"):
        SoftRecipe(rate=3)
    with pytest.raises(ConfigurationError, match="batch_tokens"):
        SoftRecipe(batch_tokens=100)
    short = SoftRecipe(max_tokens=20, answer_tokens=8, batch_tokens=64)
    with pytest.raises(ConfigurationError, match="fits 20 tokens"):
        train.soft(folders[1], tmp_path / "run", str(folders[0]), recipe=short, device="cpu")


def test_the_command_prints_the_figures(folders: tuple[Path, Path, Path]) -> None:
    model, written, run = folders
    options = ["--rank", "4", "--batch-tokens", "1024", "--learning-rate", "0.002", "--max-tokens", "512"]
    options += ["--answer-tokens", "8", "--limit", "6", "--device", "cpu"]
    found = CliRunner().invoke(
        command, ["soft", "--data", str(written), "--out", str(run), "--model", str(model), *options]
    )
    assert found.exit_code == 0, found.output
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["trained", "mean", "halved", "empty"]

"""Training the pruner from data to weights, on a tiny encoder; and the weights in the pruner."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import tiny_bert, training_data

from turnout import train
from turnout.cli.train import train as command
from turnout.compression.pruner import Pruner
from turnout.engines.manifest import sha256_of
from turnout.errors import ConfigurationError, ModelError
from turnout.train import PrunerRecipe
from turnout.training import data, pruner_examples
from turnout.training.pruner_scores import Kept

pytest.importorskip("peft")

RECIPE = PrunerRecipe(rank=8, alpha=8, batch_tokens=512, learning_rate=5e-2, elsewhere=1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(encoder, data, finished run)"""
    root = tmp_path_factory.mktemp("pruner")
    contexts, examples = training_data.rows(240)
    words = " ".join([*(c["text"] for c in contexts), *(e["question"] for e in examples)])
    encoder = tiny_bert.build(root / "bert", words.replace(".", " . ").replace("?", " ?").split(), positions=96)
    written = training_data.write(root / "data", contexts, examples)
    train.pruner(written, root / "run", recipe=RECIPE, embedder=encoder, limit=8, device="cpu")
    return encoder, written, root / "run"


def test_a_run_leaves_weights_card_curve_and_scores(folders: tuple[Path, Path, Path]) -> None:
    _, _, run = folders
    card = json.loads((run / "pruner/card.json").read_text())
    assert card["scale"] == 1 and card["recipe"]["rank"] == 8 and card["pairs"]["lamps"] > 64
    assert card["training"]["steps"] > 5
    assert card["base"] == "bert" and card["sha256"] == sha256_of(run / "pruner/pruner.safetensors")
    assert set(card["valid"]) == {"pruner", "words", "meaning", "ranking"}
    rows = [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert losses[-1] < losses[0]
    assert (run / "pruner/pruner.safetensors").stat().st_size < 200_000


def test_the_trained_weights_are_used_and_change_the_scores(folders: tuple[Path, Path, Path]) -> None:
    encoder, given, run = folders
    pruner = Pruner(encoder, run / "pruner", "cpu")
    read = data.read(given)
    gaps = []
    for example in read.examples:
        if example.fold == "train" and example.evidence:
            (scored,) = pruner.score(example.question, [read.passages[example.passage].text])
            gaps.append(scored.scores[1] - max(scored.scores[0], scored.scores[2]))
    assert sum(gap > 0 for gap in gaps) > 0.9 * len(gaps)


def test_the_same_call_again_trains_nothing(folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, given, run = folders
    before = (run / "pruner/pruner.safetensors").stat().st_mtime_ns
    scores = train.pruner(given, run, recipe=RECIPE, embedder=encoder, limit=8, device="cpu")
    assert (run / "pruner/pruner.safetensors").stat().st_mtime_ns == before
    assert scores == json.loads((run / "valid.json").read_text())
    with pytest.raises(ConfigurationError, match="another recipe"):
        train.pruner(given, run, recipe=PrunerRecipe(rank=4), embedder=encoder, device="cpu")


def test_pairs_name_what_is_wanted_and_nothing_where_there_is_no_answer(folders: tuple[Path, Path, Path]) -> None:
    read = data.read(folders[1])
    draw = pruner_examples.seeded(1)
    chosen = pruner_examples.chosen(read, "train", None, draw)
    made = [pair for several in pruner_examples.pairs(read, chosen, 1.0, draw) for pair in several]
    assert {pair.relevant for pair in made} == {True, False, None}
    for pair in made:
        if pair.relevant:
            ((start, end),) = pair.wanted
            assert "mended the lamp" in pair.passage[start:end]
        else:
            assert pair.wanted == ()
        if pair.relevant is None:
            assert "sold" in pair.question


def test_shares_of_evidence_and_tokens() -> None:
    from turnout.compression.selection import PassageScores
    from turnout.compression.units import units_of

    text = "One two three. Four five six. Seven eight nine ten eleven."
    pair = pruner_examples.Pair("?", text, ((15, 29),), True, "set", "p")
    kept = Kept(pair, PassageScores(1.0, units_of(text), (0.2, 0.9, 0.4)))
    assert kept.at(0.5)[0] == 1.0
    assert kept.at(0.95) == (0.0, 0.0)
    assert kept.at(0.0) == (1.0, 1.0)
    assert kept.up_to(0.3)[0] == 1.0


def test_bad_input(tmp_path: Path, folders: tuple[Path, Path, Path]) -> None:
    with pytest.raises(ConfigurationError, match="contexts"):
        train.pruner(tmp_path, tmp_path / "run", embedder=folders[0])
    with pytest.raises(ModelError):
        train.pruner(folders[1], tmp_path / "run", embedder=tmp_path / "nowhere")


def test_the_command_prints_the_figures(folders: tuple[Path, Path, Path]) -> None:
    encoder, given, run = folders
    options = ["--rank", "8", "--batch-tokens", "512", "--learning-rate", "0.05", "--elsewhere", "1", "--limit", "8"]
    found = CliRunner().invoke(
        command, ["pruner", "--data", str(given), "--out", str(run), "--embedder", str(encoder), *options]
    )
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0] == "evidence kept at a share of the tokens"
    assert found.stdout.splitlines()[-1].startswith("nDCG@10  pruner ")

"""Training a policy from data to weights, on a tiny reader and a tiny embedder."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import adapters, tiny_bert, tiny_models, training_data

from turnout import train
from turnout.cli.train import train as command
from turnout.engines import adapter, loading
from turnout.engines import folder as folders
from turnout.engines.local import LocalEngine
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.learned_band import LearnedBand
from turnout.train import LdarRecipe

pytest.importorskip("torch")

RECIPE = LdarRecipe(
    examples=6, document_tokens=(700, 1200), skips=(0, 1), sizes=(1, 2), max_tokens=3000, width=16, layers=1, steps=8
)


@pytest.fixture(scope="module")
def folders_of(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Path]:
    """(reader, embedder, data, finished run)"""
    root = tmp_path_factory.mktemp("ldar")
    reader = tiny_models.build(root / "tiny", max_position_embeddings=4096)
    contexts, examples = training_data.rows(60)
    words = " ".join([*(c["text"] for c in contexts), *(e["question"] for e in examples)])
    embedder = tiny_bert.build(root / "bert", words.replace(".", " . ").replace("?", " ?").split(), positions=96)
    written = training_data.write(root / "data", contexts, examples)
    train.ldar(written, root / "run", str(reader), recipe=RECIPE, embedder=embedder, limit=4, device="cpu")
    return reader, embedder, written, root / "run"


def test_a_run_leaves_rewards_weights_card_and_scores(folders_of: tuple[Path, Path, Path, Path]) -> None:
    reader, embedder, _, run = folders_of
    rows = [json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()]
    assert [row["fold"] for row in rows] == ["train"] * 6 + ["valid"] * 4
    for row in rows:
        assert len(row["bands"]) == len(row["rewards"]) == len(row["tokens"]) > 1
        assert max(row["rewards"]) < 0 and max(row["tokens"]) <= RECIPE.max_tokens
    card = json.loads((run / "ldar/card.json").read_text())
    assert (card["reader"]["name"], card["embedder"]["name"]) == ("tiny", "bert")
    assert card["questions"] == {"lamps": 6}
    scores = json.loads((run / "valid.json").read_text())
    assert card["valid"] == scores
    assert scores["n"] == 4
    assert scores["oracle"]["reward"] >= scores["fixed"]["reward"]
    assert scores["policy"]["passages"] >= 1
    policy = LearnedBand(run / "ldar")
    policy.check(SentenceEmbedder(embedder))
    assert policy.reader == "tiny" and policy.most_tokens == 3000
    assert reader.name == "tiny"


def test_rewards_are_the_readers_own(folders_of: tuple[Path, Path, Path, Path]) -> None:
    from turnout.retrieval.segment import estimate_tokens
    from turnout.training import data, reader_examples, surroundings
    from turnout.training.band_table import Asked, load

    reader, _, written, run = folders_of
    read = data.read(written)
    used = reader_examples.used(read, "train")
    pool = surroundings.pools(read.passages, used, estimate_tokens)["lamps"]
    row = load(run / "rewards.jsonl")[0]
    (example,) = (each for each in used if each.id == row.id)
    engine = LocalEngine(reader, "tiny", "cpu")
    asked = Asked(example, read.passages[example.passage], pool, RECIPE, engine)
    assert len(asked.corpus.segments) == len(row.similarities)
    assert read.passages[example.passage].text.strip() in asked.corpus.documents[0].text
    context = asked.context(row.similarities, row.bands[-1])
    assert engine.likelihood([context], asked.answer)[0] == pytest.approx(row.rewards[-1], abs=0.05)


def test_a_run_that_was_stopped_asks_only_for_what_is_missing(
    folders_of: tuple[Path, Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, embedder, written, run = folders_of
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "ldar")
    (again / "valid.json").unlink()
    lines = (again / "rewards.jsonl").read_text().splitlines(keepends=True)
    (again / "rewards.jsonl").write_text("".join(lines[:8]) + lines[8][:20])
    asked: list[str] = []
    likelihood = LocalEngine.likelihood
    monkeypatch.setattr(
        LocalEngine, "likelihood", lambda self, *given: asked.append(given[1]) or likelihood(self, *given)
    )
    told: list[tuple[str, int, int]] = []
    train.ldar(
        written, again, str(reader), recipe=RECIPE, embedder=embedder, limit=4, device="cpu",
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert (again / "rewards.jsonl").read_text().splitlines(keepends=True)[:8] == lines[:8]
    assert len((again / "rewards.jsonl").read_text().splitlines()) == 10
    assert [done for stage, done, _ in told if stage == "rewarding"][-1] == 10
    assert json.loads((again / "valid.json").read_text())["n"] == 4
    count = len(asked)
    assert 2 <= count <= 2 + 4, "two rows, and bands of the valid fold that are not in the table"
    scores = train.ldar(written, again, str(reader), recipe=RECIPE, embedder=embedder, limit=4, device="cpu")
    assert len(asked) == count and scores["n"] == 4
    longer = dataclasses.replace(RECIPE, steps=12)
    train.ldar(written, again, str(reader), recipe=longer, embedder=embedder, limit=4, device="cpu")
    assert json.loads((again / "ldar/card.json").read_text())["recipe"]["steps"] == 12
    assert len(asked) <= count + 4, "fitted anew, to the same rewards"
    with pytest.raises(ConfigurationError, match="another table"):
        train.ldar(written, again, str(reader), recipe=LdarRecipe(), embedder=embedder, limit=4, device="cpu")


def test_an_adapter_that_gives_its_evidence_first_is_refused(
    folders_of: tuple[Path, Path, Path, Path], tmp_path: Path
) -> None:
    reader, embedder, written, _ = folders_of
    read = folders.read(reader)
    network = loading.load(read, "cpu", "float32", None)
    made = adapters.build(tmp_path / "a", network, adapter.identity(read, network), evidence="number")
    with pytest.raises(ConfigurationError, match="gives its evidence before the answer"):
        train.ldar(written, tmp_path / "run", str(reader), adapter=made, embedder=embedder)


def test_bad_input(folders_of: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    reader, embedder, written, _ = folders_of
    for options, message in (
        ({"sizes": (1,), "skips": (0,)}, "2 to 16"),
        ({"sizes": (1, 2, 3, 4, 5)}, "20 bands"),
        ({"sizes": (0, 1)}, "1 or more"),
        ({"document_tokens": (500, 100)}, "least and most"),
        ({"steps": 0}, "steps is 0"),
        ({"width": 18}, "multiple of 4"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            LdarRecipe(**options)
    with pytest.raises(ModelError):
        train.ldar(written, tmp_path / "run", str(reader), embedder=tmp_path / "nowhere")
    short = LdarRecipe(examples=2, document_tokens=(300, 300), max_tokens=1)
    with pytest.raises(ConfigurationError, match="can be read with two bands"):
        train.ldar(written, tmp_path / "short", str(reader), recipe=short, embedder=embedder, limit=2, device="cpu")


def test_the_command_prints_the_figures(
    folders_of: tuple[Path, Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, written, run = folders_of
    scores = json.loads((run / "valid.json").read_text())
    given: dict[str, object] = {}
    monkeypatch.setattr(train, "ldar", lambda *a, **options: given.update(options) or scores)
    options = ["--data", str(written), "--out", str(run), "--size", "1", "--size", "3", "--skip", "0"]
    found = CliRunner().invoke(command, ["ldar", *options])
    assert found.exit_code == 0, found.output
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["policy", "fixed", "top", "oracle", "policy"]
    recipe = given["recipe"]
    assert isinstance(recipe, LdarRecipe) and recipe.bands == ((0, 1), (0, 3))

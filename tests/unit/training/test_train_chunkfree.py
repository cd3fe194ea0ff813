"""Training an adapter that points at sentences, from data to weights, on a tiny model; and its use in the engine."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import adapters, tiny_models, training_data
from support.able import AbleEngine

from turnout import Turnout, train
from turnout.cli.train import train as command
from turnout.documents import Document, Text
from turnout.engines import adapter, loading, locating
from turnout.engines import folder as model_folders
from turnout.engines.local import LocalEngine
from turnout.engines.locating import Stretch
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.chunkfree import ChunkFreeRetriever
from turnout.retrieval.corpus import Corpus
from turnout.system import doctor
from turnout.train import ChunkFreeRecipe
from turnout.training import chunkfree_lessons as lessons
from turnout.training import chunkfree_scores, data

pytest.importorskip("peft")

RECIPE = ChunkFreeRecipe(
    document_tokens=(60, 200), max_tokens=512, batch_tokens=1024, rank=4, alpha=8, learning_rate=1e-2, steps=6
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(model, data, finished run)"""
    root = tmp_path_factory.mktemp("chunkfree")
    model = tiny_models.build(root / "tiny", max_position_embeddings=1024, initializer_range=0.2)
    written = training_data.write(root / "data", *training_data.rows(42))
    train.chunkfree(written, root / "run", str(model), recipe=RECIPE, limit=4, device="cpu")
    return model, written, root / "run"


def test_a_run_leaves_weights_card_curve_and_scores(folders: tuple[Path, Path, Path]) -> None:
    _, _, run = folders
    card = json.loads((run / "chunkfree/card.json").read_text())
    assert (card["name"], card["kind"], card["base"]["name"]) == ("chunkfree1", "chunkfree", "tiny")
    assert card["recipe"]["rank"] == 4 and card["training"]["steps"] == 6
    assert set(card["lessons"]) == {"lamps"} and "licences" in card["licence"]
    losses = [row["valid_loss"] for row in card["curve"] if "valid_loss" in row]
    assert losses[-1] < losses[0]
    scores = json.loads((run / "valid.json").read_text())
    assert card["valid"] == scores
    assert scores["n"] == 4
    assert all(
        0 <= scores[way][name] <= 1 for way in ("plain", "trained") for name in ("first", "f1", "exact", "found")
    )
    assert (run / "chunkfree/adapter_model.safetensors").stat().st_size < 100_000


def test_what_is_learnt_is_what_decoding_asks_for(folders: tuple[Path, Path, Path]) -> None:
    model, written, _ = folders
    tokenizer = LocalEngine(model, device="cpu").tokenizer
    read = data.read(written)
    among = 0
    for (lesson,) in lessons.sheets(read, "train", RECIPE):
        passage = read.passages[lesson.example.passage]
        (run,) = lesson.runs
        assert "".join(lesson.sentences[slice(*run)]).strip() == passage.sentence(1)
        ((prompt, answer),) = lessons.pairs_of(lesson, tokenizer, 7, 10_000)
        asked = locating.asked(tokenizer, lesson.sentences, lesson.example.question)
        assert prompt == asked.ids
        assert answer[-1] == 7 and tokenizer.decode(list(answer[:-1])).strip() == passage.sentence(1)
        assert not list(lessons.pairs_of(lesson, tokenizer, 7, len(prompt) + len(answer) - 1))
        among += len(lesson.sentences) > 3
    assert among > 3


def test_evidence_apart_is_two_stretches_and_questions_over_one_text_share_it() -> None:
    text = "One is here. Two is here. Three is here. Four is here."
    sentences = ((0, 12), (13, 25), (26, 40), (41, 54))
    passage = data.Passage("p", "d", "t", text, sentences)
    examples = tuple(
        data.Example(f"e{number}", "p", "d", "What is here?", ("Two",), "extractive", (0, 1, 3), "train")
        for number in range(11)
    )
    first, second = lessons.sheets(data.TrainingData({"p": passage}, examples), "train", RECIPE)
    assert sorted(each.example.id for each in (*first, *second)) == sorted(each.id for each in examples)
    assert (len(first), len(second)) == (8, 3)
    assert {each.runs for each in first} == {((0, 2), (3, 4))}
    assert {"".join(each.sentences) for each in first} == {text}


def test_of_a_passage_that_is_too_long_there_are_the_sentences_around_the_evidence() -> None:
    parts = [f"Sentence number {number} is here.\n" for number in range(200)]
    starts = [sum(map(len, parts[:number])) for number in range(200)]
    sentences = tuple((start, start + len(part) - 1) for start, part in zip(starts, parts, strict=True))
    passage = data.Passage("p", "d", "t", "".join(parts), sentences)
    example = data.Example("e", "p", "d", "Which?", ("150",), "extractive", (150,), "train")
    ((lesson,),) = lessons.sheets(data.TrainingData({"p": passage}, (example,)), "train", RECIPE)
    assert len(lesson.sentences) < 30
    ((first, end),) = lesson.runs
    assert "".join(lesson.sentences[first:end]).strip() == "Sentence number 150 is here."


def test_the_adapter_is_on_where_the_model_points_and_off_where_it_answers(folders: tuple[Path, Path, Path]) -> None:
    model, _, run = folders
    plain = LocalEngine(model, device="cpu", dtype="float32")
    trained = LocalEngine(model, device="cpu", dtype="float32", chunkfree=run / "chunkfree")
    text = "The tower was quiet. Berger mended the lamp of the tower. Nobody came. Nobody came."
    question = "Who mended the lamp of the tower?"
    of = Corpus([Document("d", "d", text, "", "text")], [])
    found, before = (ChunkFreeRetriever(each).retrieve(question, of, 9) for each in (trained, plain))
    assert [each.score for each in found] != [each.score for each in before]
    assert all(each.text == of.text(each.span) for each in found)
    assert trained.surprise(["the light"], "shines") == pytest.approx(plain.surprise(["the light"], "shines"))
    assert trained.model.fingerprint != plain.model.fingerprint
    assert trained.dense_fingerprint == plain.dense_fingerprint, "what was read for answers is found again"
    again = ChunkFreeRetriever(trained).retrieve(question, of, 9)
    assert [each.score for each in again] == pytest.approx([each.score for each in found])


def test_for_the_default_model_it_is_under_15_megabytes() -> None:
    """A reader's adapter is on the same layers, in the same number format."""
    folder = adapter.SHIPPED / "smollm2-135m"
    assert json.loads((folder / adapter.CONFIG).read_text())["r"] == ChunkFreeRecipe().rank
    assert (folder / adapter.WEIGHTS).stat().st_size < 15_000_000


def test_it_lies_beside_a_readers_adapter(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, run = folders
    read = model_folders.read(model)
    network = loading.load(read, "cpu", "float32", None)
    reader = adapters.build(tmp_path / "reader", network, adapter.identity(read, network))
    text = ["The tower was quiet. ", "Berger mended the lamp. ", "Nobody came."]
    ways = [
        LocalEngine(model, device="cpu", dtype="float32", chunkfree=run / "chunkfree", adapter=each, name="tiny")
        for each in (None, reader)
    ]
    alone, both = (each.locate(text, "Who mended the lamp?", 3, 40) for each in ways)
    assert [each.score for each in alone] == pytest.approx([each.score for each in both], rel=1e-3)
    ids = ways[0].tokenizer.encode_text("The tower was quiet.")
    logits = [each.sequence().prefill(ids) for each in (ways[1], LocalEngine(model, adapter=reader, dtype="float32"))]
    assert (logits[0] - logits[1]).abs().max() < 1e-4


def test_scores_follow_their_definition() -> None:
    class Pointing(AbleEngine):
        def locate(self, sentences: object, *given: object, **options: object) -> list[Stretch]:
            return [Stretch(1, 4, 0.6), Stretch(0, 1, 0.3), Stretch(3, 5, 0.1)]

    example = data.Example("e", "p", "d", "q?", ("a",), "extractive", (0,), "valid")
    lesson = lessons.Lesson(example, tuple("abcdefghij"), ((3, 4), (7, 8)))
    row = chunkfree_scores._row(Pointing(), lesson)
    assert (row.first, row.f1, row.exact, row.found, row.share) == (1.0, 2 / 5, 0.0, 0.5, 0.5)
    exact = chunkfree_scores._row(Pointing(), dataclasses.replace(lesson, runs=((1, 4),)))
    assert (exact.f1, exact.exact, exact.found) == (1.0, 1.0, 1.0)


def test_the_same_call_again_trains_nothing(folders: tuple[Path, Path, Path]) -> None:
    model, written, run = folders
    before = (run / "chunkfree/adapter_model.safetensors").stat().st_mtime_ns
    train.chunkfree(written, run, str(model), recipe=RECIPE, limit=4, device="cpu")
    assert (run / "chunkfree/adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigurationError, match="another recipe"):
        train.chunkfree(written, run, str(model), recipe=dataclasses.replace(RECIPE, seed=2), limit=4, device="cpu")


def test_scoring_that_was_stopped_goes_on(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, written, run = folders
    again = tmp_path / "again"
    shutil.copytree(run, again)
    (again / "valid.json").unlink()
    lines = (again / "plain.jsonl").read_text().splitlines(keepends=True)
    (again / "plain.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    asked: list[object] = []
    locate = LocalEngine.locate
    monkeypatch.setattr(LocalEngine, "locate", lambda self, *given: asked.append(1) or locate(self, *given))
    train.chunkfree(written, again, str(model), recipe=RECIPE, limit=4, device="cpu")
    assert len(asked) == 2
    assert json.loads((again / "valid.json").read_text()) == json.loads((run / "valid.json").read_text())


def test_training_that_was_stopped_goes_on(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, written, run = folders
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "chunkfree")
    last = max((again / "checkpoints").iterdir(), key=lambda folder: int(folder.name.rpartition("-")[2]))
    shutil.rmtree(last)
    train.chunkfree(written, again, str(model), recipe=RECIPE, limit=4, device="cpu")
    before, after = (json.loads((each / "chunkfree/card.json").read_text()) for each in (run, again))
    losses = [[row["valid_loss"] for row in card["curve"] if "valid_loss" in row] for card in (before, after)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert (again / "trained.jsonl").read_text(), "scored anew"


def test_what_is_not_for_this_is_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, written, run = folders
    other = tiny_models.build(tmp_path / "other", hidden_size=128)
    with pytest.raises(ModelError, match=r"chunkfree1 .* was trained on tiny, not on other") as refused:
        _ = LocalEngine(other, device="cpu", chunkfree=run / "chunkfree").model
    assert "TURNOUT_CHUNKFREE" in refused.value.hint
    with pytest.raises(ModelError, match="of the kind chunkfree, not reader"):
        _ = LocalEngine(model, device="cpu", adapter=run / "chunkfree").model
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        _ = LocalEngine(model, device="cpu", chunkfree=tmp_path).model
    for options, message in (
        ({"document_tokens": (500, 100)}, "least and most"),
        ({"rank": 0}, "rank is 0"),
        ({"batch_tokens": 100}, "batch_tokens"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            ChunkFreeRecipe(**options)
    short = dataclasses.replace(RECIPE, max_tokens=20)
    with pytest.raises(ConfigurationError, match="fits 20 tokens"):
        train.chunkfree(written, tmp_path / "run", str(model), recipe=short, device="cpu")
    long = dataclasses.replace(RECIPE, max_tokens=5000, batch_tokens=8192)
    with pytest.raises(ConfigurationError, match="window of 1,024"):
        train.chunkfree(written, tmp_path / "run", str(model), recipe=long, device="cpu")


def test_the_command_prints_the_figures(folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, written, run = folders
    scores = json.loads((run / "valid.json").read_text())
    given: dict[str, object] = {}
    monkeypatch.setattr(train, "chunkfree", lambda *a, **options: given.update(options) or scores)
    options = ["--data", str(written), "--out", str(run), "--rank", "8", "--without", "policyqa"]
    found = CliRunner().invoke(command, ["chunkfree", *options])
    assert found.exit_code == 0, found.output
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["plain", "trained", "f1"]
    assert given["recipe"] == ChunkFreeRecipe(rank=8, alpha=16, without=("policyqa",))


def test_a_setting_makes_search_and_strategy_point_with_it(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, run = folders
    text = Text("The tower was quiet. Berger mended the lamp of the tower. Nobody came. Nobody left.", "tower.txt")
    given = {"home": tmp_path, "model": str(model), "device": "cpu"}
    scores = []
    for folder in (run / "chunkfree", None):
        monkeypatch.setenv("TURNOUT_CHUNKFREE", str(folder or ""))
        with Turnout(**given) as turnout:
            hits = turnout.search("Who mended the lamp?", text, limit=4, retriever="chunkfree")
            scores.append([hit.score for hit in hits])
            answer = turnout.ask("Who mended the lamp of the tower?", text, strategy="rag:chunkfree")
            assert ("chunkfree" in answer.model.fingerprint) is (folder is not None)
            assert answer.usage.scanned_tokens > 0
    assert scores[0] != scores[1]
    told = "\n".join(doctor(home=tmp_path, model=str(model), chunkfree=run / "chunkfree")["lines"])
    assert "rag:chunkfree with chunkfree1, for tiny" in told
    damaged = doctor(home=tmp_path, model=str(model), chunkfree=tmp_path, ldar=tmp_path)["problems"]
    assert [any(name in each for each in damaged) for name in ("adapter_config.json", "train ldar")] == [True, True]

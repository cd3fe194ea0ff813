"""`turnout calibrate attention`: what is measured, what follows from it, and that the engine goes by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import tiny_models

from turnout import calibrate as facade
from turnout.cli.calibrate import calibrate
from turnout.config import Settings
from turnout.engines import calibrated, open_engine
from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.engines.paged.patterns import Pattern, Span
from turnout.engines.paged.policy import AttentionPolicy, everywhere, split
from turnout.engines.paged.recall import STEPS
from turnout.errors import ConfigurationError, DocumentError, ModelError
from turnout.router.calibration import attention as measuring
from turnout.router.calibration.attention import Design, Point, decide

WINDOW = 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wide"
    return tiny_models.build(path, hidden_size=64, max_position_embeddings=WINDOW)


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    monkeypatch.setattr(measuring, "SMALLEST", 64)
    monkeypatch.setattr(measuring, "SPANS", (Span(4, 32), Span(4, 9999)))
    monkeypatch.setattr(measuring, "LINES", ((8, 8),))
    return LocalEngine(folder, device="cpu", dtype="float32", chunk_tokens=64)


def test_everything_is_measured_told_and_kept(engine: LocalEngine, folder: Path, home: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = facade.attention(engine=engine, max_tokens=200, prompts=1, repeats=1, progress=lambda *at: told.append(at))
    assert told[-1][1] == told[-1][2] == 2 * 192, "a prompt for the split, and one to measure"
    assert [point["tokens"] for point in found["points"]] == [64, 128]
    for point in found["points"]:
        rows = {row["name"]: row for row in point["policies"]}
        assert {"xattention 0.9/16", "pooled 0.9", "lines 8+8", "span 4+32", "span 4+9999"} <= set(rows)
        assert rows["span 4+9999"]["recall"] == rows["span 4+9999"]["density"] == 1
        assert rows["span 4+32"]["worst_recall"] < rows["span 4+32"]["recall"] < 1
        assert all(row["speedup"] > 0 and row["seconds"] > 0 for row in rows.values()) and point["dense_s"] > 0
    new = found["decode"]
    assert [row["name"] for row in new["policies"]] == ["pages 16/1", "pages 32/1", "pages 64/1", "pages 64/4"]
    assert all(row["recall"] == row["density"] == 1 for row in new["policies"]), "the prompts have fewer pages"
    assert (new["tokens"], new["steps"]) == (192 - STEPS, STEPS) and new["dense_s"] > 0
    assert [(band["start"], band["end"]) for band in found["bands"]] == [(64, 128)]
    kept = json.loads(Path(found["saved"]).read_text())
    assert kept == {"version": calibrated.VERSION, **{name: found[name] for name in found if name != "saved"}}
    assert calibrated.of_model(home, engine.dense_fingerprint) == AttentionPolicy.from_dict(found["policy"])


def test_the_command_shows_what_is_read_how(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.parts.open_engine", lambda settings: engine)
    arguments = [
        "attention",
        "--max-tokens",
        "200",
        "--prompts",
        "1",
        "--repeats",
        "1",
        "--report",
        "--min-recall",
        "0.9",
    ]
    run = CliRunner().invoke(calibrate, arguments)
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0] == "wide  chunks of 64  recall of at least 0.9"
    assert lines[1].startswith("64 tokens, dense ") and lines[1].endswith("speed-up")
    assert lines[2].split()[:2] == ["xattention", "0.9/16"]
    assert any(line.startswith("32 new tokens after 160 ") for line in lines)
    assert any(line.startswith("64 to 128 ") for line in lines) and "saved in" in run.stderr


def point(recall: float, ratio: float) -> Point:
    return Point(recall, recall / 2, (1, 0), 0.3, ratio, 1.0, ratio)


def decided(*rows: dict[str, Point]) -> tuple[AttentionPolicy, list[str]]:
    """Of policies a and b at 100, 200, 400, ... tokens."""
    tried = [everywhere(Pattern(Span(4, 40)), "a"), split([[True, False]], Span(4, 80), "b")]
    places = tuple(100 << step for step in range(len(rows)))
    points = {(place, name): row[name] for place, row in zip(places, rows, strict=True) for name in ("a", "b")}
    policy, bands = decide(tried, points, Design(places, 1, 1, 0.95))
    return policy, [band["policy"] for band in bands]


GOOD, BETTER, SLOW, POOR = point(0.96, 0.7), point(0.95, 0.5), point(1.0, 0.99), point(0.94, 0.1)


def test_the_fastest_that_kept_enough_at_both_ends_is_taken() -> None:
    policy, names = decided({"a": GOOD, "b": BETTER}, {"a": GOOD, "b": BETTER})
    assert names == ["b"]
    assert policy.at(99) is None and policy.at(200) is None, "beyond what was measured it is dense"
    band = policy.at(100)
    assert band is not None and band.heads == ((1, 0),) and band.patterns == (None, Pattern(Span(4, 80)))


def test_what_kept_too_little_or_was_no_faster_at_one_end_is_not() -> None:
    for bad in (SLOW, POOR):
        policy, names = decided({"a": bad, "b": bad}, {"a": GOOD, "b": GOOD})
        assert names == ["dense"] and policy.bands == () and policy.is_dense


def test_lengths_that_are_read_alike_are_one_band() -> None:
    rows = [{"a": SLOW, "b": SLOW}, {"a": GOOD, "b": POOR}, {"a": GOOD, "b": POOR}, {"a": GOOD, "b": BETTER}]
    policy, names = decided(*rows)
    assert names == ["dense", "a", "a"]
    assert [(band.start, band.patterns) for band in policy.bands] == [(200, (Pattern(Span(4, 40)),)), (800, (None,))]
    again, names = decided(*rows[1:], {"a": SLOW, "b": BETTER})
    assert names == ["a", "a", "b"] and [band.start for band in again.bands] == [100, 400, 800]


def test_the_engine_goes_by_it_from_then_on(folder: Path, home: Path) -> None:
    settings = Settings.load(model=str(folder), device="cpu")
    before = open_engine(settings)
    assert isinstance(before, LocalEngine) and before.model.fingerprint == before.dense_fingerprint
    policy, _ = decided({"a": GOOD, "b": POOR}, {"a": GOOD, "b": POOR})
    calibrated.save(home, before.dense_fingerprint, {"policy": policy.to_dict()})
    after = open_engine(settings)
    assert isinstance(after, LocalEngine) and after.attention == policy
    assert after.model.fingerprint != before.model.fingerprint == after.dense_fingerprint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_recall": 0.0}, "recall of 0.0"),
        ({"min_recall": 1.1}, "recall of 1.1"),
        ({"prompts": 0}, "prompts is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"max_tokens": 100}, "up to 100 tokens are too short"),
        ({"max_tokens": 5000}, "5,000 tokens are more than"),
        ({"attention": "auto"}, "compared with dense"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_the_model_is_loaded(
    engine: LocalEngine, options: dict, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        facade.attention(engine=engine, **options)
    assert caught.value.hint and engine._loaded is None


def test_texts_that_are_too_short_are_refused(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("The light stands on the island. It shines at night.")
    with pytest.raises(ConfigurationError, match="too short"):
        facade.attention(engine=engine, texts=tmp_path / "short.txt")
    with pytest.raises(DocumentError, match="not found"):
        facade.attention(engine=engine, texts=tmp_path / "none")


def test_other_engines_and_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not ours to choose"):
        facade.attention(engine=FakeEngine())
    narrow = LocalEngine(tiny_models.build(tmp_path / "narrow"), device="cpu", chunk_tokens=64)
    with pytest.raises(ModelError, match="heads of 8 numbers"):
        facade.attention(engine=narrow)
    odd = LocalEngine(tiny_models.build(tmp_path / "odd", hidden_size=64), device="cpu", chunk_tokens=50)
    with pytest.raises(ConfigurationError, match="chunks of 50 tokens"):
        facade.attention(engine=odd)

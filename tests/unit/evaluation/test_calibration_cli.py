"""`turnout calibrate window` and its facade on the fake engine."""

import json
from pathlib import Path
from statistics import mean

import pytest
from click.testing import CliRunner

from turnout import calibrate as facade
from turnout.cli.calibrate import calibrate
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError, UnknownNameError
from turnout.router.calibration.store import WindowProfile, load_window
from turnout.types import Context

SMALL = ["--max-size", "512", "--documents", "2", "--questions", "2", "--seeds", "2"]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(calibrate, ["window", "--model", "fake", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value), result.stdout, result.stderr


def test_the_command_shows_cost_first_then_a_table_and_where_it_is_kept(home: Path) -> None:
    code, out, err = run(*SMALL)
    assert code == 0
    # 2 sizes, 2 seeds, 2 documents, 4 kinds of 2 questions
    assert err.startswith("64 prompts, ")
    assert "sizes 256, 512" in err
    assert f"saved in {home / 'turnout.db'}, in the profile of fake" in err
    lines = out.splitlines()
    assert lines[0] == "fake  window 8,192  8 trials a kind and size  few documents (4)"
    assert lines[1].split() == ["MECW", "[range]", "256", "512"]
    # The fake engine answers with the sentence that shares most words: it finds most facts that are asked in theirs,
    # in whatever our own pages say, which are the documents here.
    assert lines[2].startswith("needle ")
    name, mecw, *scores = lines[3].split()
    assert (name, mecw) == ("lexical", "512") and mean(map(float, scores)) > 0.5
    assert lines[5].split() == ["by", "seed", "1:", "512,", "2:", "512"]
    # It says one fact where three are asked.
    multi = next(i for i, line in enumerate(lines) if line.startswith("multi "))
    assert lines[multi + 1].split() == ["all", "right", "0.00", "0.00"]


def test_the_calibration_as_json_is_what_is_kept(home: Path) -> None:
    code, out, _ = run(*SMALL, "--kinds", "needle", "--json")
    found = json.loads(out)
    assert code == 0
    assert [(kind["kind"], kind["sizes"]) for kind in found["kinds"]] == [("needle", [256, 512])]
    assert found["kinds"][0]["few_documents"] is True
    assert found.pop("saved") == str(home / "turnout.db")
    database = Database.at(Settings.load())
    kept = load_window(database, found["fingerprint"])
    database.close()
    assert kept is not None
    assert kept.to_dict() == found == WindowProfile.from_dict(found).to_dict()


def test_the_default_texts_end_the_sizes_and_say_so() -> None:
    _, out, err = run("--kinds", "needle", "--documents", "2", "--questions", "1", "--seeds", "1")
    assert "the default texts end here" in err
    assert " 2,048 " in out


def test_a_default_run_that_was_stopped_goes_on(home: Path) -> None:
    engine, answers = FakeEngine(), []

    def stopping(context: Context) -> str:
        answers.append(context.question)
        if len(answers) == 6:
            raise Cancelled("given up")
        return "12"

    options = {"kinds": ["needle"], "sizes": (256, 512), "documents": 2, "questions": 2, "seeds": 1}
    with pytest.raises(Cancelled):
        facade.window(engine=FakeEngine(stopping), **options)
    plans: list[dict] = []
    facade.window(engine=engine, on_plan=plans.append, **options)
    # Two documents of two questions were answered whole, the third was stopped at its second question.
    assert (plans[0]["kept"], plans[0]["prompts"], len(engine.contexts)) == (4, 4, 4)
    file = Path(plans[0]["state"])
    assert file.parent == home / "calibration"
    assert file.name.startswith("fake-")
    facade.window(engine=engine, on_plan=plans.append, **options)
    assert (plans[1]["kept"], len(engine.contexts)) == (8, 4)
    # Another design has another file.
    facade.window(engine=engine, on_plan=plans.append, **{**options, "kinds": ["comparison"]})
    assert plans[2]["state"] != plans[0]["state"]


def test_a_smaller_calibration_is_refused_before_anything_is_asked() -> None:
    run(*SMALL, "--kinds", "needle")
    smaller = ["--max-size", "400", "--documents", "2", "--questions", "2", "--seeds", "2", "--kinds", "needle"]
    engine = FakeEngine()
    with pytest.raises(ConfigurationError, match="--replace"):
        facade.window(engine=engine, max_size=400, documents=2, questions=2, seeds=2, kinds=["needle"])
    assert engine.contexts == []
    with pytest.raises(ConfigurationError, match="--replace"):
        run(*smaller)
    assert run(*smaller, "--replace")[0] == 0


def test_wrong_options_are_named_before_anything_is_asked() -> None:
    with pytest.raises(UnknownNameError, match="neddle"):
        run("--kinds", "neddle")
    with pytest.raises(ConfigurationError, match="room for"):
        run("--sizes", "256,9000")
    with pytest.raises(ConfigurationError, match="seeds is 0"):
        facade.window(engine=FakeEngine(), seeds=0)
    with pytest.raises(ConfigurationError, match="documents is 1"):
        facade.window(engine=FakeEngine(), documents=1)
    with pytest.raises(ConfigurationError, match="no kind"):
        run("--kinds", ",")
    with pytest.raises(ConfigurationError, match="sizes begin at 256"):
        run("--sizes", "100,512")
    result = CliRunner().invoke(calibrate, ["window", "--sizes", "256,many"])
    assert result.exit_code == 2
    assert "256,512,1024" in result.stderr

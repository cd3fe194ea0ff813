"""The state file of a calibration: going on after a stop, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError, StoreError, TurnoutError
from turnout.router.calibration.filler import default_texts
from turnout.router.calibration.state import TrialStore
from turnout.router.calibration.window import NEW_TOKENS, Design, WindowProfile, head, measure_window, read_with
from turnout.types import Context, ModelInfo

MODEL = ModelInfo("scripted", 8192, "scripted-1")
TEXTS = default_texts()
DESIGN = Design(("needle", "comparison"), (256, 512), (1, 2), 3, 2)
SMALL = Design(("needle",), (256, 320), (1,), 2, 1)


def measured(
    design: Design, state: Path | None, answers: Callable[[Context], str] | None = None, **options
) -> tuple[WindowProfile, FakeEngine]:
    """The calibration of the fake engine, and the engine with what it was asked."""
    engine = FakeEngine(answers)
    run = (read_with(engine), engine.count_text, TEXTS, MODEL, design)
    if state is None:
        return measure_window(*run, **options), engine
    with TrialStore(state, head(design, MODEL, TEXTS, "plain")) as store:
        return measure_window(*run, store=store, **options), engine


def stop_after(prompts: int) -> Callable[[Context], str]:
    """Answers so many prompts, then gives up."""
    asked = []

    def answer(context: Context) -> str:
        if len(asked) == prompts:
            raise Cancelled("given up")
        asked.append(context)
        return "12"

    return answer


def lines(state: Path) -> list[dict]:
    return [json.loads(line) for line in state.read_text(encoding="utf-8").splitlines()]


def test_a_stopped_and_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    state = tmp_path / "runs" / "state.jsonl"
    twelve = lambda context: "12"  # noqa: E731
    with pytest.raises(Cancelled):
        measured(DESIGN, state, stop_after(22))
    with state.open("a", encoding="utf-8") as file:
        file.write('{"seed": 1, "si')  # the line that a kill tore
    told: list[tuple[int, int]] = []
    resumed, engine = measured(DESIGN, state, twelve, progress=lambda _, done, total: told.append((done, total)))
    assert resumed == measured(DESIGN, None, twelve)[0]
    # 22 prompts are 5 documents of 4 and half of another: 7 of 12 are left.
    assert len(engine.contexts) == 7 * 4
    assert told[-1] == (7, 7)
    assert measured(DESIGN, state, stop_after(0))[0] == resumed  # nothing is left to ask
    assert [len(line["trials"]) for line in lines(state)[1:]] == [4] * 12


def test_answers_are_graded_anew_when_they_are_read(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    wrong, _ = measured(SMALL, state, lambda context: "1")
    assert {point.score for point in wrong.kinds[0].curve} == {0}
    changed = lines(state)
    for line in changed[1:]:
        for trial in line["trials"]:
            assert not {"right", "share"} & trial.keys()
            trial["answer"] = f"{trial['expected'][0]} of them"
    state.write_text("".join(json.dumps(line) + "\n" for line in changed), encoding="utf-8")
    right, engine = measured(SMALL, state)
    assert {point.score for point in right.kinds[0].curve} == {1}
    assert engine.contexts == []


def test_the_day_of_a_calibration_is_that_of_its_last_answer(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    measured(SMALL, state)
    old = [line | ({"measured": f"2025-01-0{i}"} if i else {}) for i, line in enumerate(lines(state))]
    state.write_text("".join(json.dumps(line) + "\n" for line in old), encoding="utf-8")
    assert measured(SMALL, state)[0].kinds[0].measured == "2025-01-04"


def test_a_state_of_another_calibration_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    measured(SMALL, state)
    before = state.read_bytes()
    with pytest.raises(ConfigurationError, match="sizes, questions differ"):
        measured(Design(("needle",), (256, 512), (1,), 2, 2), state)
    with (
        pytest.raises(ConfigurationError, match="prompt_format differ"),
        TrialStore(state, head(SMALL, MODEL, TEXTS, "quoting")),
    ):
        pass
    assert state.read_bytes() == before
    assert head(SMALL, MODEL, TEXTS, "plain")["new_tokens"] == NEW_TOKENS


@pytest.mark.parametrize("content", [b"my notes", b"my\nnotes\n", b"{}\n", b"[]\n", b"\xff\xfe\n"])
def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "notes.txt"
    other.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no state of a calibration"):
        measured(SMALL, other)
    assert other.read_bytes() == content


def test_a_torn_first_line_of_the_same_calibration_is_written_again(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    state.write_text(json.dumps(head(SMALL, MODEL, TEXTS, "plain"))[:40], encoding="utf-8")
    found, _ = measured(SMALL, state)
    assert found == measured(SMALL, state)[0]
    assert lines(state)[0]["calibration"] == "window/3"
    state.write_text(json.dumps(head(DESIGN, MODEL, TEXTS, "plain"))[:-2], encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no state of a calibration"):
        measured(SMALL, state)


@pytest.mark.parametrize("line", ["{}", "[]", "7", "{", '{"seed": 1, "size": 256, "document": 0, "trials": [{}]}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    state = tmp_path / "state.jsonl"
    measured(SMALL, state)
    with state.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigurationError, match=r"state\.jsonl:6: not the answers"):
        measured(SMALL, state)


def test_a_document_without_trials_is_damaged(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    measured(SMALL, state)
    first, second, *rest = lines(state)
    state.write_text("".join(json.dumps(line) + "\n" for line in [first, second | {"trials": []}, *rest]))
    with pytest.raises(ConfigurationError, match=r"state\.jsonl:2: not the answers"):
        measured(SMALL, state)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    identity = head(SMALL, MODEL, TEXTS, "plain")
    with TrialStore(state, identity), pytest.raises(StoreError, match="another process"), TrialStore(state, identity):
        pass
    with TrialStore(state, identity) as store:
        assert store.known == {}


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TurnoutError, match="can't be"):
        measured(SMALL, tmp_path / "file" / "state.jsonl")

"""Measuring windows of readers whose sight is known, without a model."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from turnout import calibrate as facade
from turnout.cli.calibrate import calibrate
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError, TurnoutError, UnknownNameError
from turnout.router.calibration.plan import choose_sizes, estimate, largest_size
from turnout.router.calibration.store import load_window, save_window, windows
from turnout.router.calibration.tasks import BUYERS, GOODS
from turnout.router.calibration.window import AnswerAll, Design, WindowProfile, measure_window, read_with
from turnout.router.profile import ModelProfile
from turnout.types import Context, ModelInfo

MODEL = ModelInfo("scripted", 8192, "scripted-1")
count = FakeEngine().count_text
SIZES = (256, 512, 1024, 2048)
ALL = Design(("needle", "multi", "aggregation", "comparison"), SIZES, documents=6, questions=4)
NEEDLE = Design(("needle",), (256, 512, 1024), documents=6, questions=4)
CANONICAL = {word: pair[0] for pair in (*BUYERS, *GOODS) for word in pair}
KEPT = {pair[0] for pair in GOODS}


def _texts() -> list[str]:
    source = random.Random(5)
    words = "wind river paper cloud winter window letter garden evening market bridge valley".split()
    return [". ".join(" ".join(source.choices(words, k=12)).capitalize() for _ in range(300)) + "."]


TEXTS = _texts()


def kind_of(question: str) -> str:
    if question.startswith("Who"):
        return "comparison"
    if question.endswith(("in all?", "in total?")):
        return "aggregation"
    return "multi" if " each " in question else "needle"


def reader(
    sees: Callable[[str], str] = str, knows: Callable[[str, int], bool] = lambda kind, tokens: True
) -> AnswerAll:
    """Answers from the facts that it sees of a document, where it `knows` how to at this kind and size."""

    def answer(document: str, questions: list[str]) -> list[str]:
        tokens = count(document)
        facts = re.findall(r"The (\w+) purchased (\d+) (\w+)\.", sees(document))
        bought = {(who, what): int(value) for who, value, what in facts}
        return [one(q, bought) if knows(kind_of(q), tokens) else "Not in the text." for q in questions]

    def one(question: str, bought: dict[tuple[str, str], int]) -> str:
        named = [word for word in re.findall(r"\w+", question) if word in CANONICAL]
        good = next(CANONICAL[word] for word in named if CANONICAL[word] in KEPT)
        buyers = [word for word in named if CANONICAL[word] != good]
        values = {word: bought.get((CANONICAL[word], good), -1) for word in buyers}
        kind = kind_of(question)
        if kind == "comparison":
            return f"The {max(buyers, key=lambda word: values[word])}"
        if kind == "aggregation":
            return str(sum(value for (_, what), value in bought.items() if what == good))
        return ", ".join(str(value) for value in values.values() if value > 0) or "Not in the text."

    return answer


def last_512_tokens(document: str) -> str:
    """The end of a document, found from its words: at most 512 tokens."""
    words = re.findall(r"\s*\S+", document)
    while count("".join(words)) > 512:
        del words[: max(1, len(words) // 50)]
    return "".join(words)


def measured(answer: AnswerAll, design: Design = ALL, **options) -> WindowProfile:
    return measure_window(answer, count, TEXTS, MODEL, design, **options)


def test_a_perfect_reader_has_the_largest_size_for_every_kind() -> None:
    found = measured(reader())
    assert found.windows == dict.fromkeys(ALL.kinds, 2048)
    for kind in found.kinds:
        assert (kind.low, kind.high, kind.is_largest, kind.reason) == (2048, 2048, True, "")
        assert kind.per_seed == (2048, 2048, 2048)
        assert kind.per_phrasing == {"lexical": 2048, "paraphrase": 2048}
        assert {(point.size, point.phrasing) for point in kind.curve} == {
            (size, phrasing) for size in SIZES for phrasing in ("all", "lexical", "paraphrase")
        }
        # 3 seeds of 6 documents of 4 questions, half of them in each phrasing.
        assert {(point.phrasing, point.trials) for point in kind.curve} == {
            ("all", 72),
            ("lexical", 36),
            ("paraphrase", 36),
        }
        assert all(point.accuracy == point.share == 1 for point in kind.curve)


def test_a_reader_of_the_last_512_tokens_has_a_smaller_window() -> None:
    found = measured(reader(last_512_tokens), NEEDLE).kinds[0]
    assert found.mecw == 512
    assert found.per_seed == (512, 512, 512)
    assert not found.is_largest
    at = {point.size: point.accuracy for point in found.curve if point.phrasing == "all"}
    assert at[512] == 1
    assert 0.3 < at[1024] < 0.7  # sees half of the document, so about half of the facts


def test_kinds_differ_where_the_reader_does() -> None:
    found = measured(reader(knows=lambda kind, tokens: kind != "aggregation" or tokens <= 1024))
    assert found.windows == {"needle": 2048, "multi": 2048, "aggregation": 1024, "comparison": 2048}


def test_phrasings_differ_where_the_reader_does() -> None:
    whole = reader()

    def words_only(document: str, questions: list[str]) -> list[str]:
        far = count(document) > 512
        answers = zip(questions, whole(document, questions), strict=True)
        return ["Not in the text." if far and " buy?" in question else answer for question, answer in answers]

    found = measured(words_only, NEEDLE).kinds[0]
    assert found.per_phrasing == {"lexical": 1024, "paraphrase": 512}
    assert found.mecw == 512


def test_a_reader_that_guesses_is_not_measurable() -> None:
    source = random.Random(1)

    def guess(document: str, questions: list[str]) -> list[str]:
        values = re.findall(r"purchased (\d+)", document)
        names = [[word for word in re.findall(r"\w+", q) if word in CANONICAL][1:] for q in questions]
        return [
            source.choice(pair) if q.startswith("Who") else source.choice(values)
            for q, pair in zip(questions, names, strict=True)
        ]

    found = measured(guess)
    assert set(found.windows.values()) == {None}
    for kind in found.kinds:
        assert (kind.low, kind.high) == (None, None)
        assert "chance" in kind.reason if kind.kind == "comparison" else "too little to lose" in kind.reason


def test_several_needles_count_as_right_only_together_and_the_share_is_beside_it() -> None:
    whole = reader()
    design = Design(("multi",), SIZES[:2], documents=2, questions=2)
    found = measured(lambda text, asked: [a.rpartition(", ")[0] for a in whole(text, asked)], design).kinds[0]
    assert {point.accuracy for point in found.curve} == {0}
    assert {point.share for point in found.curve} == {0.6667}


def test_two_runs_of_one_design_are_equal_and_other_seeds_ask_other_things() -> None:
    asked: list[list[str]] = []
    whole = reader(last_512_tokens)

    def kept(document: str, questions: list[str]) -> list[str]:
        asked[-1] += questions
        return whole(document, questions)

    profiles = []
    for seeds in ((1, 2, 3), (1, 2, 3), (4, 5, 6)):
        asked.append([])
        profiles.append(measured(kept, Design(("needle",), (256, 512), seeds, 2, 2)))
    assert profiles[0] == profiles[1]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]


# --- the state file --------------------------------------------------------------------------------------------------


def test_a_stopped_and_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    state, calls, whole = tmp_path / "runs" / "state.jsonl", [], reader(last_512_tokens)
    design = Design(("needle", "comparison"), (256, 512), (1, 2), 3, 2)

    def stopping(document: str, questions: list[str]) -> list[str]:
        if len(calls) == 5:
            raise Cancelled("given up")
        calls.append(document)
        return whole(document, questions)

    def counting(document: str, questions: list[str]) -> list[str]:
        calls.append(document)
        return whole(document, questions)

    with pytest.raises(Cancelled):
        measured(stopping, design, state=state)
    with state.open("a", encoding="utf-8") as file:
        file.write('[{"seed": 1, "si')  # the line that a kill tore
    told: list[tuple[str, int, int]] = []
    resumed = measured(counting, design, state=state, progress=lambda *seen: told.append(seen))
    assert resumed == measured(whole, design)
    assert len(calls) == len(set(calls)) == 12  # 2 seeds, 2 sizes, 3 documents: each read once
    # Seed 1 has its last document of 512 left, seed 2 all: (7 - 3) * 512 + 3 * 256 tokens, each asked 4 questions.
    assert told[-1] == ("calibrating", 4 * (4 * 512 + 3 * 256), 4 * (4 * 512 + 3 * 256))
    assert measured(stopping, design, state=state) == resumed  # nothing is left to ask
    lines = [json.loads(line) for line in state.read_text(encoding="utf-8").splitlines()]
    assert [len(line) for line in lines[1:]] == [4] * 12


def test_a_state_of_another_calibration_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    design = Design(("needle",), (256, 512), (1,), 2, 1)
    measured(reader(), design, state=state)
    before = state.read_bytes()
    with pytest.raises(ConfigurationError, match="sizes, questions differ"):
        measured(reader(), Design(("needle",), (256, 1024), (1,), 2, 2), state=state)
    assert state.read_bytes() == before
    other = tmp_path / "notes.txt"
    other.write_text("my notes", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no state"):
        measured(reader(), design, state=other)
    assert other.read_text(encoding="utf-8") == "my notes"
    other.write_text("my\nnotes\n", encoding="utf-8")
    with pytest.raises(TurnoutError, match="can't be used as state"):
        measured(reader(), design, state=other)


# --- engines, sizes, cost --------------------------------------------------------------------------------------------


def test_an_engine_reads_the_document_with_each_question() -> None:
    whole = reader()
    engine = FakeEngine(lambda context: whole(context.parts[0].text, [context.question])[0])
    found = measured(read_with(engine), Design(("multi",), (256, 512), (1,), 2, 2))
    assert found.windows == {"multi": 512}
    assert len(engine.contexts) == 8
    assert {len(context.parts) for context in engine.contexts} == {1}


def test_sizes_are_geometric_up_to_what_fits() -> None:
    text = [TEXTS[0] * 3]
    assert choose_sizes(8000, text, count) == (256, 512, 1024, 2048, 4096, 8000)
    assert choose_sizes(30_000, text, count)[-1] == 8192
    assert choose_sizes(30_000, text, count, max_size=2100) == (256, 512, 1024, 2100)
    assert choose_sizes(8000, text, count, sizes=(1024, 300)) == (300, 1024)
    assert choose_sizes(8000, text, count, sizes=(1024, 300, 512), max_size=600) == (300, 512)


def test_sizes_that_do_not_fit_are_refused_with_what_would() -> None:
    with pytest.raises(ConfigurationError, match="room for 4,000"):
        choose_sizes(4000, TEXTS, count, sizes=(256, 5000))
    with pytest.raises(ConfigurationError, match="room for 4,000"):
        choose_sizes(4000, TEXTS, count, max_size=5000)
    with pytest.raises(ConfigurationError, match="filler texts have"):
        choose_sizes(90_000, TEXTS, count, max_size=50_000)
    with pytest.raises(ConfigurationError, match="two at least"):
        choose_sizes(4000, TEXTS, count, sizes=(256,))
    with pytest.raises(ConfigurationError, match="two at least"):
        choose_sizes(200, TEXTS, count)
    short = [TEXTS[0][:4000]]
    assert choose_sizes(8000, short, count, must_fill=False)[-1] < 1100


def test_the_largest_size_leaves_room_for_question_and_answer() -> None:
    engine = FakeEngine(window=1500)
    largest = largest_size(engine)
    found = measured(read_with(engine), Design(("multi", "comparison"), (256, largest), (1,), 4, 8))
    assert found.sizes[-1] == largest
    assert 1300 < largest < 1500 - max(engine.count(Context((), c.question)) for c in engine.contexts)


def test_the_estimate_is_the_sum_over_prompts() -> None:
    design = Design(("needle", "multi"), (300, 500), (1,), 2, 5)
    profile = ModelProfile(1e-3, 0.0, 0.1, 0.0, measured="2026-01-01")
    each = estimate(design, 40, profile)
    # 4 documents of 10 questions; a prompt is its document and 40 tokens more, an answer 10 tokens of 0.1 s.
    assert (each.prompts, each.prompt_tokens) == (40, 2 * 10 * (340 + 540))
    assert each.seconds == pytest.approx(2 * 10 * (0.34 + 0.54) + 40 * 1.0)
    once = estimate(design, 40, profile, reads_once=True)
    assert once.prompt_tokens == 2 * (300 + 500) + 40 * 40
    assert once.seconds == pytest.approx(2 * 0.8 + 40 * 0.04 + 40 * 1.0)
    assert estimate(design, 40, ModelProfile(1e-3, 0.0, 0.1, 0.0)).seconds is None


# --- the profile -----------------------------------------------------------------------------------------------------


def test_a_calibration_is_kept_and_joined_with_earlier_kinds(home: Path) -> None:
    database = Database.at(Settings.load())
    assert windows(database, MODEL) == {}
    assert load_window(database, MODEL.fingerprint) is None
    needle = measured(reader(), Design(("needle",), (256, 512), (1,), 2, 2))
    assert save_window(database, needle) == needle
    assert load_window(database, MODEL.fingerprint) == needle
    multi = measured(reader(), Design(("multi",), (256, 1024), (1,), 2, 2))
    save_window(database, multi)
    assert windows(database, MODEL) == {"multi": 1024, "needle": 512}
    assert windows(database, ModelInfo("other", 8192, "other-1")) == {}
    database.close()


def test_a_cost_profile_stored_before_windows_existed_can_be_read() -> None:
    assert ModelProfile(per_token_s=1, per_pair_s=0, token_s=1, token_per_context_s=0).windows == {}


# --- the door and the command ----------------------------------------------------------------------------------------

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
    assert lines[0] == "fake  window 8,192  8 trials a kind and size"
    assert lines[1].split() == ["MECW", "[95%]", "256", "512"]
    # The fake engine answers with the sentence that shares most words: it finds every fact that is asked in its words.
    assert lines[2].startswith("needle ")
    assert lines[3].split() == ["lexical", "512", "1.00", "1.00"]
    assert any(line.startswith("multi") and "not measurable" in line for line in lines)


def test_the_calibration_as_json_is_what_is_kept(home: Path) -> None:
    code, out, _ = run(*SMALL, "--kinds", "needle", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["sizes"] == [256, 512]
    assert [kind["kind"] for kind in found["kinds"]] == ["needle"]
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


def test_wrong_options_are_named_before_anything_is_asked() -> None:
    with pytest.raises(UnknownNameError, match="neddle"):
        run("--kinds", "neddle")
    with pytest.raises(ConfigurationError, match="room for"):
        run("--sizes", "256,9000")
    with pytest.raises(ConfigurationError, match="seeds is 0"):
        facade.window(engine=FakeEngine(), seeds=0)
    result = CliRunner().invoke(calibrate, ["window", "--sizes", "256,many"])
    assert result.exit_code == 2
    assert "256,512,1024" in result.stderr

"""Measuring windows of readers whose sight is known, without a model."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.numbered import NumberedFake

from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError
from turnout.router.calibration.plan import largest_size
from turnout.router.calibration.store import load_window, save_window, windows
from turnout.router.calibration.tasks import BUYERS, GOODS, NEEDLES
from turnout.router.calibration.window import NEW_TOKENS, AnswerAll, Design, WindowProfile, measure_window, read_with
from turnout.types import Context, ModelInfo

MODEL = ModelInfo("scripted", 8192, "scripted-1")
count = FakeEngine().count_text
SIZES = (256, 512, 1024, 2048)
ALL = Design(("needle", "multi", "aggregation", "comparison"), SIZES, documents=6, questions=4)
NEEDLE = Design(("needle",), (256, 512, 1024), documents=6, questions=4)
CANONICAL = {word: pair[0] for pair in (*BUYERS, *GOODS) for word in pair}
KEPT = {pair[0] for pair in GOODS}
PARAPHRASED = {form[4] for form in NEEDLES}
NEEDLE_OF = {question: fact.replace("{}", r"(\d+)") for _, _, fact, *questions in NEEDLES for question in questions}


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
        seen = sees(document)
        return [one(q, seen) if knows(kind_of(q), tokens) else "Not in the text." for q in questions]

    def one(question: str, seen: str) -> str:
        if question in NEEDLE_OF:
            return " ".join(re.findall(NEEDLE_OF[question], seen)) or "Not in the text."
        facts = re.findall(r"The (\w+) purchased (\d+) (\w+)\.", seen)
        bought = {(who, what): int(value) for who, value, what in facts}
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


def mecw(found: WindowProfile) -> dict[str, int | None]:
    return {kind.kind: kind.mecw for kind in found.kinds}


def test_a_perfect_reader_has_the_largest_size_for_every_kind() -> None:
    found = measured(reader())
    assert mecw(found) == dict.fromkeys(ALL.kinds, 2048)
    assert found.windows == dict.fromkeys(ALL.kinds)  # no fall: no limit
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
        assert all(point.accuracy == point.score == 1 for point in kind.curve)
        assert (kind.trials, kind.few_documents) == (72, False)


def test_a_reader_of_the_last_512_tokens_has_a_smaller_window() -> None:
    profile = measured(reader(last_512_tokens), NEEDLE)
    found = profile.kinds[0]
    assert found.mecw == 512
    assert profile.windows == {"needle": 512}
    assert found.per_seed == (512, 512, 512)
    assert not found.is_largest
    at = {point.size: point.accuracy for point in found.curve if point.phrasing == "all"}
    assert at[512] == 1
    assert 0.3 < at[1024] < 0.7  # sees half of the document, so about half of the facts


def test_kinds_differ_where_the_reader_does() -> None:
    found = measured(reader(knows=lambda kind, tokens: kind != "aggregation" or tokens <= 1024))
    assert mecw(found) == {"needle": 2048, "multi": 2048, "aggregation": 1024, "comparison": 2048}
    assert found.windows == {"needle": None, "multi": None, "aggregation": 1024, "comparison": None}


def test_phrasings_differ_where_the_reader_does() -> None:
    whole = reader()

    def words_only(document: str, questions: list[str]) -> list[str]:
        far = count(document) > 512
        answers = zip(questions, whole(document, questions), strict=True)
        return ["Not in the text." if far and question in PARAPHRASED else answer for question, answer in answers]

    found = measured(words_only, NEEDLE).kinds[0]
    assert found.per_phrasing == {"lexical": 1024, "paraphrase": 512}
    assert found.mecw == 512


def test_a_reader_that_guesses_is_not_measurable() -> None:
    source = random.Random(1)

    def guess(document: str, questions: list[str]) -> list[str]:
        values = re.findall(r"\d+", document)
        names = [[word for word in re.findall(r"\w+", q) if word in CANONICAL][1:] for q in questions]
        return [
            source.choice(pair) if q.startswith("Who") else source.choice(values)
            for q, pair in zip(questions, names, strict=True)
        ]

    found = measured(guess)
    assert set(mecw(found).values()) == {None}
    assert found.windows == {}  # nothing known, which is not "no limit"
    for kind in found.kinds:
        assert (kind.low, kind.high) == (None, None)
        assert "chance" in kind.reason if kind.kind == "comparison" else "too little to lose" in kind.reason


def test_several_needles_are_measured_on_the_share_and_all_right_is_beside_it() -> None:
    whole = reader()

    def two_of_three(document: str, questions: list[str]) -> list[str]:
        answers = whole(document, questions)
        return [a.rpartition(", ")[0] if count(document) <= 512 else a.partition(", ")[0] for a in answers]

    found = measured(two_of_three, Design(("multi",), (256, 512, 1024), documents=4, questions=2)).kinds[0]
    assert [point.score for point in found.curve if point.phrasing == "all"] == [0.6667, 0.6667, 0.3333]
    assert {point.accuracy for point in found.curve} == {0}
    assert found.mecw == 512


def test_the_quotes_that_an_engine_is_asked_for_are_not_graded() -> None:
    whole = reader()

    def quoting(document: str, questions: list[str]) -> list[str]:
        facts = " ".join(re.findall(r"The \w+ purchased \d+ \w+\.", document)[:3])
        return [f'{answer}\nQuote: "{facts}"' for answer in whole(document, questions)]

    assert measured(quoting, NEEDLE) == measured(whole, NEEDLE)


def test_few_documents_are_marked() -> None:
    assert measured(reader(), Design(("needle",), (256, 512), (1, 2, 3), 3, 1)).kinds[0].few_documents
    assert not measured(reader(), Design(("needle",), (256, 512), (1, 2), 5, 1)).kinds[0].few_documents


def test_progress_is_weighed_by_what_a_document_costs() -> None:
    told: list[tuple[int, int]] = []
    design = Design(("needle",), (256, 1024), (1,), 2, 1)
    measured(reader(), design, progress=lambda _, done, total: told.append((done, total)), weights={256: 2, 1024: 9})
    assert told == [(2, 22), (4, 22), (13, 22), (22, 22)]
    told.clear()
    measured(reader(), design, progress=lambda _, done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


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


# --- engines ---------------------------------------------------------------------------------------------------------


def test_an_engine_reads_the_document_with_each_question() -> None:
    whole = reader()
    engine = FakeEngine(lambda context: whole(context.parts[0].text, [context.question])[0])
    found = measured(read_with(engine), Design(("multi",), (256, 512), (1,), 2, 2))
    assert mecw(found) == {"multi": 512}
    assert len(engine.contexts) == 8
    assert {len(context.parts) for context in engine.contexts} == {1}


def test_the_largest_size_leaves_room_for_question_and_answer() -> None:
    engine = FakeEngine(window=1500)
    largest = largest_size(engine, [])
    found = measured(read_with(engine), Design(("multi", "comparison"), (256, largest), (1,), 4, 8))
    assert found.kinds[0].sizes[-1] == largest
    assert 1300 < largest < 1500 - max(engine.count(Context((), c.question)) for c in engine.contexts)


def test_numbers_of_sentences_leave_less_room() -> None:
    engine = NumberedFake(window=1500)
    largest = largest_size(engine, TEXTS)
    assert largest < 1300
    measured(read_with(engine), Design(("multi", "comparison"), (256, largest), (1,), 4, 8))
    longest = max(engine.count(context) for context in engine.contexts)
    assert 0.6 * 1500 < longest <= 1500 - NEW_TOKENS


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
    kept = load_window(database, MODEL.fingerprint)
    assert kept is not None
    assert {kind.kind: kind.sizes for kind in kept.kinds} == {"multi": (256, 1024), "needle": (256, 512)}
    assert windows(database, MODEL) == {"multi": None, "needle": None}
    assert windows(database, ModelInfo("other", 8192, "other-1")) == {}
    database.close()


def test_a_smaller_calibration_replaces_a_larger_one_only_when_told_to(home: Path) -> None:
    database = Database.at(Settings.load())
    larger = measured(reader(), Design(("needle", "multi"), (256, 512), (1,), 3, 2))
    fewer = measured(reader(), Design(("needle",), (256, 1024), (1,), 2, 2))
    shorter = measured(reader(), Design(("multi",), (256, 400), (1,), 4, 2))
    save_window(database, larger)
    with pytest.raises(ConfigurationError, match=r"'needle' has 6 trials.* has 4 up to 1,024.*\n.*--replace"):
        save_window(database, fewer)
    with pytest.raises(ConfigurationError, match="up to 512 tokens; this one has 8 up to 400"):
        save_window(database, shorter)
    assert load_window(database, MODEL.fingerprint) == larger
    assert save_window(database, larger) == larger
    kept = save_window(database, fewer, replace=True)
    assert [(kind.kind, kind.trials) for kind in kept.kinds] == [("needle", 4), ("multi", 6)]
    database.close()

import string
import sys
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import MissingExtraError, UnknownNameError
from turnout.router.evaluation import text_scores
from turnout.router.evaluation.items import Item, Malformed, options, read_items
from turnout.router.evaluation.metrics import (
    abstention,
    choice_accuracy,
    citations,
    exact_match,
    list_f1,
    list_recall,
    number_match,
    rouge_l,
    score,
    token_f1,
)

QUESTIONS = Path(__file__).parents[4] / "shared" / "data" / "dev" / "questions"
CITIES = ("London", "Paris", "Rome", "New York")
CONTRACT = ("Yes, the contract implies this", "No, the contract contradicts this", "Not mentioned in the contract")


def item(answer_type: str, *answers: str, **fields: Any) -> Item:
    given: dict[str, Any] = {
        "id": "q", "dataset": "own", "task": "location", "hop": "single-hop", "question": "What?", "answers": answers,
        "choices": None, "answer_type": answer_type, "doc_ids": ("d",), "evidence": None, "context_chars": 9,
        "core": False,
    }  # fmt: skip
    return Item(**given | fields)


def test_exact_match_is_after_squad_normalisation() -> None:
    assert exact_match("The Eiffel Tower!", ["a tower", "eiffel tower"]) == 1
    assert exact_match("Eiffel's tower", ["eiffel tower"]) == 0
    assert exact_match("there", ["re"]) == 0  # an article is a whole word


def test_token_f1_by_hand() -> None:
    # cat sat on mat | cat sat: 2 in common, precision 2/4, recall 2/2, F1 = 2 * 2 / (4 + 2)
    assert token_f1("The cat sat on the mat.", ["cat sat"]) == pytest.approx(2 / 3)
    # a word counts as often as both have it: 1 in common, F1 = 2 * 1 / (3 + 1)
    assert token_f1("no no no", ["no"]) == pytest.approx(1 / 2)
    assert token_f1("no no", ["no no no"]) == pytest.approx(4 / 5)
    assert token_f1("blue", ["red", "blue whale", "green"]) == pytest.approx(2 / 3)  # best over the answers
    assert token_f1("blue", ["red"]) == 0
    assert token_f1("blue", []) == 0


def test_two_texts_that_are_empty_after_normalisation_are_equal() -> None:
    assert token_f1("The.", [""]) == exact_match("The.", [""]) == 1
    assert token_f1("", ["x"]) == token_f1("x", ["the"]) == 0


def test_rouge_l_by_hand() -> None:
    # longest common subsequence "one three": precision 2/3, recall 2/4, F = 2 * 2 / (3 + 4)
    assert rouge_l("one three five", ["one two three four"]) == pytest.approx(4 / 7)
    assert rouge_l("three one", ["one two three four"]) == pytest.approx(2 / 6)  # order counts
    assert rouge_l("One, three!", ["zero", "one three"]) == 1
    assert rouge_l("runs", ["running"]) == 0  # no stemming


def test_rouge_l_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    text_scores._rouge.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MissingExtraError, match="eval"):
        rouge_l("a", ["a"])


@pytest.mark.parametrize(
    "prediction",
    """B|b|(b)|B.|"B"|**B**|[B]|B. Paris|B) Paris|(B) Paris|B: Paris|B - by far|B because it is|B is correct|Paris.
    |PARIS|Answer: B|Answer:\nB|The answer is B.|the answer is b|The correct option is (B), the capital
    |I think Paris (B)|A man went to Paris|It was Paris, a city|B\nAs the text says|Paris, Paris""".split("|"),
)
def test_an_option_is_named_by_letter_or_in_full(prediction: str) -> None:
    assert choice_accuracy(prediction, CITIES, "Paris") == 1
    assert choice_accuracy(prediction, CITIES, "Rome") == 0


@pytest.mark.parametrize(
    "prediction",
    """A man went|The answer is a man|A.I. is great|E|New|Parisian||B or C|B, C|A, B and C agree|Paris or Rome|B. Rome
    |The answer is A or B.|A. London\nB. Paris\nC. Rome|The answer is not given""".split("|"),
)
def test_none_or_two_options_are_named(prediction: str) -> None:
    assert [choice_accuracy(prediction, CITIES, city) for city in CITIES] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("prediction", "choices", "answer"),
    [
        ("Not mentioned.", ("mentioned", "not mentioned"), "not mentioned"),
        ("It is mentioned", ("mentioned", "not mentioned"), "mentioned"),
        ("no, the contract contradicts this", ("no", *CONTRACT), CONTRACT[1]),
        ("C. Not mentioned in the contract", CONTRACT, CONTRACT[2]),
        ("Nothing was done, so yes", ("yes", "no"), "yes"),
        ("It has significantly increased.", ("significantly increased", "increased"), "significantly increased"),
        ("player_2 and player_4", ("player_2", "player_4", "player_2 and player_4"), "player_2 and player_4"),
        ("(2), (4), (5)", ("(1)(3)(5)", "(2)(4)(5)"), "(2)(4)(5)"),
        ("ok/OK", ("cool", "O.K./OK", "ok/ok"), "ok/ok"),
        ("It is C++.", ("C", "C++", "Java"), "C++"),
        ("It is C.", ("C", "C++", "Java"), "C"),
        ("A sailor", ("A fan of the sea", "A sailor"), "A sailor"),
        ("fan of the sea", ("A fan of the sea", "A sailor"), "A fan of the sea"),
    ],
)
def test_the_longest_option_wins_and_hides_what_it_covers(
    prediction: str, choices: tuple[str, ...], answer: str
) -> None:
    assert choice_accuracy(prediction, choices, answer) == 1


def test_a_number_option_is_a_whole_number() -> None:
    assert choice_accuracy("3 days", ("2", "3"), "3") == 1
    assert [choice_accuracy(days, ("2", "3"), "3") for days in ("2.3", "3.2", "13", "3,000")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("$5,818", "5818.00"), ("USD 5818", "$5818.00"), ("5\u202f818", "5818"), ("5,760", "5818"),
        ("(1,164)", "-1164"), ("-$1,164", "-1164"), ("$(1,164.0)", "-1164"), ("minus 1164", "-1164"),
        ("30.8 percent", "30.8%"), ("30.8", "30.8%"), ("0.308", "30.8%"), ("21%", "0.21"), ("(3.7)%", "-3.7%"),
        ("$5.8bn", "5.8 billion"), ("5,800 million", "5.8 billion"), ("£5.8B", "5.8 billion"), ("58K", "58,000"),
        ("It rose to $5 million-plus", "5 million"), ("1.33x", "1.33"), ("nine episodes", "9"), ("none", "None"),
        ("In 2019 it was 45", "45"), ("December 31, 2019: 45", "45"), ("As of 31 December, 45", "45"),
        ("The 10-K for Q3 says 45", "45"), ("62 - 17 = 45", "45"), ("45 in the 2nd part, then 50", "45"),
        ("On 5 May 1992", "1992"), ("after 3 years, in 1992", "1992"), ("101", "100"),
        ("that year (2019)", "2019"),
    ],
)  # fmt: skip
def test_the_same_number(prediction: str, answer: str) -> None:
    assert number_match(prediction, [answer]) == 1


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("1164", "-1164"), ("a decrease of 1164", "-1164"), ("102", "100"), ("0.1", "0"), ("2018", "2019"),
        ("50, not 45", "45"), ("5.8 million", "5.8 billion"), ("30.8%", "30.8 million"), ("", "5"), ("many", "5"),
        ("45 = 9 * 5", "45"), ("1992-1994", "1994"),
    ],
)  # fmt: skip
def test_another_number(prediction: str, answer: str) -> None:
    assert number_match(prediction, [answer]) == 0


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("27,727", 1), ("27.7 million", 1), ("27,727,000", 1), ("27727 thousand", 1), ("27,727 million", 0), ("27.7", 0)],
)
def test_a_scale_may_be_left_out_but_not_be_another_one(prediction: str, expected: float) -> None:
    assert number_match(prediction, ["27727 thousand", "27727"]) == expected


@pytest.mark.parametrize(
    ("prediction", "items", "expected"),
    [
        ("The years are 2019, 2018, and 2017.", ["2017", "2018", "2019"], 1),
        ("- $45,007\n- 31,497", ["$45,007", "$31,497"], 1),
        ("1. Apples\n2. the pears", ["apples", "pears"], 1),
        ("45,007 in 2018; 31,497 in 2019, respectively", ["$45,007", "$31,497"], 1),
        ("2018: 45,007 and 2019: 31,497", ["45,007", "31,497"], 1),
        ("Part 2 was 45, part 3 was 50", ["45", "50"], 1),
        ("wages and salaries, rent", ["rent", "wages and salaries"], 1),
        # 1 of 2 items matched, 2 given: F1 = 2 * 1 / (2 + 2)
        ("2018, 2018", ["2018", "2019"], 0.5),
        # 2 of 2 items matched, 4 given: F1 = 2 * 2 / (4 + 2)
        ("apples, pears, plums, figs", ["apples", "pears"], 2 / 3),
        ("", ["apples"], 0),
    ],
)
def test_list_f1_by_hand(prediction: str, items: list[str], expected: float) -> None:
    assert list_f1(prediction, items) == pytest.approx(expected)


def test_list_recall_looks_anywhere_in_the_text() -> None:
    assert (
        list_recall("We sell pineapples, the red pears and 5 thousand figs", ["apples", "Red pears", "5,000"]) == 2 / 3
    )
    assert list_recall("in 2018", ["2019"]) == 0
    assert list_recall("3%-5%", ["3%", "5%"]) == 1  # a range, and no number below zero


@pytest.mark.parametrize(
    ("question", "answer", "metric", "metrics"),
    [
        (item("extractive", "red", "blue whale"), "blue", "f1", {"f1": 2 / 3, "em": 0}),
        (item("extractive", "red", "blue whale", dataset="legalbench_rag"), "red", "f1", {"f1": 2 / 4, "em": 0}),
        (item("abstractive", "one two"), "two one", "rouge_l", {"rouge_l": 1 / 2, "f1": 1}),
        (item("choice", "B) Rome", choices=("A) Paris", "B) Rome")), "Rome", "accuracy", {"accuracy": 1}),
        (item("number", "5 million"), "5.0 million", "number", {"number": 1, "f1": 1 / 2}),
        (item("list", "a cat; a dog"), "dog", "list_f1", {"list_f1": 2 / 3, "list_recall": 1 / 2}),
        (item("list", "x", meta={"items": [2018, 2019]}), "2018", "list_f1", {"list_f1": 2 / 3, "list_recall": 1 / 2}),
    ],
    ids=lambda value: value.answer_type if isinstance(value, Item) else None,
)
def test_score_by_answer_type(question: Item, answer: str, metric: str, metrics: dict[str, float]) -> None:
    scored = score(question, answer, abstained=False)
    assert scored.metric == metric
    assert dict(scored.metrics) == pytest.approx(metrics)
    assert scored.value == scored.metrics[metric]
    assert score(question, question.answers[0], abstained=True).metrics == dict.fromkeys(metrics, 0)


def test_an_unanswerable_question_is_scored_by_the_abstention_alone() -> None:
    assert score(item("unanswerable"), "Not in the text.", abstained=True).value == 1
    assert score(item("unanswerable"), "Not in the text.", abstained=False).value == 0


def test_an_unknown_answer_type_is_named() -> None:
    with pytest.raises(UnknownNameError, match="'essay'"):
        score(item("essay", "x"), "x", abstained=False)


@pytest.mark.slow
@pytest.mark.shared
def test_every_gold_answer_of_the_core_questions_scores_one() -> None:
    malformed: list[Malformed] = []
    low = []
    for question in read_items([QUESTIONS], malformed.append):
        if question.answer_type == "unanswerable" or not question.core:
            continue
        answers = [" ".join(question.answers)] if question.dataset == "legalbench_rag" else list(question.answers)
        if question.choices:
            right = question.choices.index(answers[0])
            text, letter = options(question)[right], string.ascii_uppercase[right]
            answers = [text, letter, f"{letter}. {text}", f"The answer is {letter}.", text.upper()]
        low += [(question.id, answer) for answer in answers if score(question, answer, abstained=False).value < 1]
    assert not malformed
    assert not low


def test_abstention_by_hand() -> None:
    kinds = {"right": ("unanswerable", True), "missed": ("unanswerable", False)}
    kinds |= {"wrong": ("extractive", True), "answered": ("number", False)}
    names = ["right"] * 3 + ["missed"] + ["wrong"] * 2 + ["answered"] * 6
    rows = [dict(zip(("answer_type", "abstained"), kinds[name], strict=True)) for name in names]
    # 5 abstentions, 3 of them right; 4 unanswerable, 3 of them refused; 8 answerable, 2 of them refused
    counts = {"abstained": 5, "unanswerable": 4}
    assert abstention(rows) == {"precision": 3 / 5, "recall": 3 / 4, "wrongly_refused": 2 / 8} | counts


def test_abstention_is_undefined_where_there_is_nothing_to_divide_by() -> None:
    nothing = {"precision": None, "recall": None, "wrongly_refused": None, "abstained": 0, "unanswerable": 0}
    assert abstention([]) == nothing
    assert abstention([{"answer_type": "list", "abstained": False}]) == nothing | {"wrongly_refused": 0}


def test_a_citation_is_supported_by_one_shared_character() -> None:
    gold = [("a", 10, 20), ("b", 0, 5)]
    cited = [("a", 19, 30), ("a", 20, 30), ("a", 0, 10), ("b", 4, 5), ("c", 10, 20), None]
    assert citations(cited, gold) == {"given": 6, "found": 5, "supported": 2}


def test_without_gold_evidence_nothing_is_said_about_support() -> None:
    for gold in (None, []):
        assert citations([("a", 0, 1), None], gold) == {"given": 2, "found": 1, "supported": None}
    assert citations([], [("a", 0, 1)]) == {"given": 0, "found": 0, "supported": 0}

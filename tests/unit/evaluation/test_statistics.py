import numpy as np
import pytest

from turnout.router.evaluation.statistics import (
    Interval,
    macro,
    macro_interval,
    needed_questions,
    paired_difference,
    told_apart,
)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_macro_is_the_mean_over_datasets() -> None:
    assert macro({"a": [1, 1, 1, 0], "b": [0]}) == pytest.approx(0.375)  # (0.75 + 0) / 2, and not 3 / 5
    for nothing in ({}, {"a": [1.0], "b": []}):
        with pytest.raises(ValueError, match="no scores"):
            macro(nothing)


def test_interval_over_two_documents_by_hand() -> None:
    # Drawing 2 of {0, 1}: 0, 1/2 and 1 with probability 1/4, 1/2 and 1/4, so 2.5% and 97.5% lie at the ends
    assert macro_interval([0, 1], ["d", "e"], ["x", "x"]) == Interval(0.5, 0, 1)
    # and 30% and 70% in the middle.
    assert macro_interval([0, 1], ["d", "e"], ["x", "x"], level=0.4) == Interval(0.5, 0.5, 0.5)


def test_a_drawn_mean_is_over_questions_and_not_over_documents() -> None:
    # d twice: 1, d and e: 3/4, e twice: 0; the mean of the documents' means would be 1/2 in the middle.
    interval = macro_interval([1, 1, 1, 0], ["d", "d", "d", "e"], ["x"] * 4, level=0.4)
    assert interval == Interval(0.75, 0.75, 0.75)


def test_documents_are_drawn_within_their_dataset() -> None:
    # Every draw of x is 1 and every draw of y is 0: pooled drawing would mix them.
    interval = macro_interval([1, 1, 1, 0, 0], ["d", "e", "f", "g", "h"], ["x", "x", "x", "y", "y"])
    assert interval == Interval(0.5, 0.5, 0.5)


def test_documents_of_one_name_in_two_datasets_are_two() -> None:
    same, other = (macro_interval([0, 1, 1, 0], list(names), list("xxyy")) for names in ("dede", "defg"))
    assert same == other


def test_questions_that_agree_within_a_document_count_less() -> None:
    by_document = np.repeat(np.arange(30) % 2, 6)
    documents = [str(number) for number in np.repeat(np.arange(30), 6)]
    questions = [str(number) for number in range(180)]
    ratio = width(macro_interval(by_document, documents, ["x"] * 180)) / width(
        macro_interval(by_document, questions, ["x"] * 180)
    )
    assert ratio == pytest.approx(np.sqrt(6), rel=0.15)  # 30 independent values instead of 180


def test_one_document_alone_falls_back_to_its_questions() -> None:
    scores = [0, 1, 1, 1, 0, 1]
    alone = macro_interval(scores, ["d"] * 6, ["x"] * 6)
    assert alone == macro_interval(sorted(scores), list("abcdef"), ["x"] * 6)
    assert alone.low < alone.mean < alone.high


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 2, 60).astype(float)
    clusters, datasets = [f"d{n // 3}" for n in range(60)], [f"s{n // 20}" for n in range(60)]
    order = random.permutation(60)
    mixed = (scores[order], [clusters[n] for n in order], [datasets[n] for n in order])
    first = macro_interval(scores, clusters, datasets, seed=1)
    again = macro_interval(*mixed, seed=1)
    assert (again.mean, again.low, again.high) == pytest.approx((first.mean, first.low, first.high))
    assert macro_interval(scores, clusters, datasets, seed=2) != first


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(7)
    runs, documents, questions = 300, 40, 4
    clusters = [str(number) for number in np.repeat(np.arange(documents), questions)] * 2
    datasets = ["x"] * documents * questions + ["y"] * documents * questions
    covered = 0
    for run in range(runs):
        level = np.repeat([0.3, 0.7], documents) + random.normal(0, 0.2, 2 * documents)
        scores = np.repeat(level, questions) + random.normal(0, 0.1, 2 * documents * questions)
        interval = macro_interval(scores, clusters, datasets, draws=300, seed=run)
        covered += interval.low <= 0.5 <= interval.high
    # Three standard errors of a share of 0.95 in 300 runs are 0.038.
    assert covered / runs == pytest.approx(0.95, abs=0.038)


def test_paired_difference() -> None:
    a, b, names = [0.9, 0.4, 0.7], [0.4, 0.4, 0.4], ["d", "e", "f"]
    # x: (0.5 + 0.0) / 2, y: 0.3, macro (0.25 + 0.3) / 2
    assert paired_difference(a, b, names, ["x", "x", "y"]).mean == pytest.approx(0.275)
    assert paired_difference(a, a, names, ["x", "x", "y"]) == Interval(0, 0, 0)


def test_pairing_takes_out_what_the_questions_share() -> None:
    random = np.random.default_rng(5)
    hard = random.random(200)
    a, b = hard + random.normal(0.05, 0.02, 200), hard
    names = [str(number) for number in range(200)]
    assert told_apart(paired_difference(a, b, names, ["x"] * 200))
    assert macro_interval(a, names, ["x"] * 200).low < macro_interval(b, names, ["x"] * 200).high


@pytest.mark.parametrize(
    ("low", "high", "apart"), [(-0.1, 0.1, False), (0.01, 0.1, True), (-0.1, -0.01, True), (0, 0, False), (0, 1, False)]
)
def test_told_apart_where_zero_lies_outside(low: float, high: float, apart: bool) -> None:
    assert told_apart(Interval((low + high) / 2, low, high)) is apart


def test_needed_questions_by_hand() -> None:
    # The interval is [0, 1] around 1/2 as above, so the half-width is the difference: as many as there are,
    # 124 rounded up to two figures.
    a, clusters = [0] * 62 + [1] * 62, ["d"] * 62 + ["e"] * 62
    assert needed_questions(a, [0] * 124, clusters, ["x"] * 124) == 130
    assert needed_questions([0, 1], [0, 0], ["d", "e"], ["x", "x"]) == 2
    # a - b is 1 and -0.5, so the interval is [-0.5, 1] around 0.25: 2 * (0.75 / 0.25)^2
    assert needed_questions([1, 0], [0, 0.5], ["d", "e"], ["x", "x"]) == 18
    assert needed_questions([0, 1], [0, 1], ["d", "e"], ["x", "x"]) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 scores, 1 clusters"):
        macro_interval([0, 1], ["d"], ["x", "x"])
    with pytest.raises(ValueError, match="0 scores"):
        macro_interval([], [], [])
    with pytest.raises(ValueError, match="2 scores against 1"):
        paired_difference([0, 1], [0], ["d", "e"], ["x", "x"])

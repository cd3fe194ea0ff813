import numpy as np
import pytest

from turnout.router.evaluation import statistics
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
    assert macro([1, 0, 1, 1, 0], list("abaaa")) == pytest.approx(0.375)  # (0.75 + 0) / 2, and not 3 / 5
    with pytest.raises(ValueError, match="0 scores"):
        macro([], [])
    with pytest.raises(ValueError, match="1 scores, 2 datasets"):
        macro([1.0], ["a", "b"])


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


def test_documents_of_one_name_in_one_stratum_are_drawn_once() -> None:
    documents, scores = [f"d{number}" for number in range(12)], [0.1 * (number % 7) for number in range(12)]
    one = macro_interval(scores, documents, ["x"] * 12)
    both = macro_interval(scores * 2, documents * 2, ["x"] * 12 + ["y"] * 12, strata=[""] * 24)
    assert (both.mean, both.low, both.high) == pytest.approx((one.mean, one.low, one.high))
    # Drawn apart, the two groups' errors are taken to cancel out: the interval is narrower by the root of 2.
    apart = macro_interval(scores * 2, documents * 2, ["x"] * 12 + ["y"] * 12)
    assert width(one) / width(apart) == pytest.approx(np.sqrt(2), rel=0.1)
    paired = paired_difference(scores * 2, [0.0] * 24, documents * 2, ["x"] * 12 + ["y"] * 12, strata=[""] * 24)
    assert paired == both


def test_what_is_not_drawn_keeps_its_mean() -> None:
    # y stands in e alone and is 1 wherever it is drawn. Of the draws of 2 of {d, e}, x is 0, 1/2 and 1 as above:
    # the mean with y is 1/2 at the least, also where e was not drawn.
    interval = macro_interval([0, 1, 1], ["d", "e", "e"], ["x", "x", "y"], strata=[""] * 3)
    assert interval == Interval(0.75, 0.5, 1)


def test_one_document_in_all_falls_back_to_its_questions_of_every_group() -> None:
    scores, groups = [0, 1, 1, 0, 1, 1], list("xyxyxy")
    alone = macro_interval(scores, ["d"] * 6, groups, strata=[""] * 6)
    order = [4, 2, 0, 5, 3, 1]
    mixed = macro_interval([scores[n] for n in order], ["d"] * 6, [groups[n] for n in order], strata=[""] * 6)
    assert alone == mixed
    assert alone.low < alone.mean < alone.high


def test_drawing_a_few_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, names = [number % 5 for number in range(40)], [f"d{number // 2}" for number in range(40)]
    datasets = ["x"] * 16 + ["y"] * 24
    whole = macro_interval(scores, names, datasets)
    sizes: list[int] = []

    class Counting:
        def __init__(self, seed: int) -> None:
            self.random = np.random.Generator(np.random.PCG64(seed))

        def multinomial(self, n: int, shares: object, size: int) -> object:
            sizes.append(size)
            return self.random.multinomial(n, shares, size=size)  # type: ignore[call-overload]

    monkeypatch.setattr(np.random, "default_rng", Counting)
    monkeypatch.setattr(statistics, "CELLS", 7 * 8)  # 7 draws of x's 8 documents at once, 4 of y's 12
    part = macro_interval(scores, names, datasets)
    assert (part.mean, part.low, part.high) == pytest.approx((whole.mean, whole.low, whole.high), abs=1e-12)
    assert (sizes[0], sizes[-1], sum(sizes)) == (7, 4, 4000)


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
    # The half-width is the difference: as many as there are, 124 rounded up to two figures.
    assert needed_questions(Interval(0.5, 0, 1), 124) == 130
    assert needed_questions(Interval(0.5, 0, 1), 2) == 2
    assert needed_questions(Interval(0.25, -0.5, 1), 2) == 18  # 2 * (0.75 / 0.25)^2
    assert needed_questions(Interval(-0.25, -1, 0.5), 2) == 18
    assert needed_questions(Interval(0, -1, 1), 2) is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 scores, 1 clusters"):
        macro_interval([0, 1], ["d"], ["x", "x"])
    with pytest.raises(ValueError, match="1 strata"):
        macro_interval([0, 1], ["d", "e"], ["x", "x"], strata=["s"])
    with pytest.raises(ValueError, match="0 scores"):
        macro_interval([], [], [])
    with pytest.raises(ValueError, match="2 scores against 1"):
        paired_difference([0, 1], [0], ["d", "e"], ["x", "x"])

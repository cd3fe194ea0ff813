"""What speaks for an outcome, the rule that judges by it, and what a calibration makes of it."""

import json
from dataclasses import replace

import pytest

from turnout.errors import ConfigurationError
from turnout.router.support import ByRule, Judgement, Support, agree, overlap
from turnout.router.support_model import COLUMNS, GRID, Bound, ByModel, Heads, SupportModel, columns, documents_for
from turnout.types import Citation

BORNE = Support("location", False, False, quoted=1, found=1, cited=1, held=1.0, asked=0.5)
RULE = ByRule()


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({}, True),
        ({"found": 0, "cited": 0, "held": 0.0}, False),
        ({"held": 0.3}, False),
        ({"held": 0.3, "task": "reasoning"}, True),
        ({"held": None}, True),
        ({"quoted": 0, "found": 0}, True),
        ({"quoted": 0, "found": 0, "cited": 0, "held": 0.0}, False),
        ({"quoted": 0, "found": 0, "cited": 0, "held": None}, True),
        ({"quoted": 0, "found": 0, "cited": 0, "held": None, "agreement": 0.2}, False),
        ({"doubt": 0.6}, False),
        ({"doubt": 0.4}, True),
        ({"abstained": True, "refused": True}, False),
        ({"task": "summarisation", "found": 0, "cited": 0, "held": 0.0}, True),
    ],
)
def test_the_rule_keeps_what_a_found_quote_or_sentence_holds(changes: dict[str, object], keeps: bool) -> None:
    judged = RULE.judge(replace(BORNE, **changes))  # type: ignore[arg-type]
    assert judged.keeps is keeps and judged.why and judged.probability is None


def test_what_citations_hold_is_counted_beyond_the_questions_words() -> None:
    cited = Citation(None, "Marta Lindqvist repaired the lamp in 1893", "exact")
    assert overlap("Who repaired the lamp?", "Marta Lindqvist, of Osterholm", [cited]) == (pytest.approx(2 / 3), 1.0)
    assert overlap("Is the lamp red?", "Yes", [])[1] == 0.0
    assert overlap("谁修了灯?", "玛尔塔", [Citation(None, "玛尔塔修了灯塔的灯。", "exact")])[0] == 1.0
    assert overlap("Who repaired the lamp?", "repaired", [cited])[0] is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Marta Lindqvist", "It was Marta Lindqvist.", True),
        ("Marta", "Jonas", False),
        ("和", "和", True),
        ("", "a", False),
    ],
)
def test_answers_agree_where_most_of_their_words_are_the_same(one: str, other: str, same: bool) -> None:
    assert agree(one, other) is same


def heads(level: float, **weights: float) -> Heads:
    right = [0.0] * len(COLUMNS)
    for name, weight in {"level": level, **weights}.items():
        right[COLUMNS.index(name)] = weight
    return Heads(tuple(right), (-5.0, *[0.0] * (len(COLUMNS) - 1)))


def model(totals: tuple[float, ...], documents: int) -> SupportModel:
    own = heads(-2.0, held=4.0)
    return SupportModel(own, 0.5, Bound(own, totals, documents), "a test")


def test_columns_are_bounded_whatever_is_known() -> None:
    for support in (BORNE, replace(BORNE, doubt=0.0), replace(BORNE, doubt=1.0, agreement=0.0, held=None)):
        found = columns(support)
        assert len(found) == len(COLUMNS) and found.min() >= 0 and found.max() <= 1


def test_a_calibration_keeps_from_its_threshold_and_gives_what_is_likeliest() -> None:
    judge = ByModel(heads(-2.0, held=4.0), 0.8)
    strong, weak = judge.judge(BORNE), judge.judge(replace(BORNE, held=0.5))
    assert strong.keeps and strong.probability == pytest.approx(0.881, abs=1e-3)
    assert not weak.keeps and weak.probability == pytest.approx(0.5)
    assert judge.pick([("a", weak), ("b", strong), ("c", strong)]) == 1
    nothing = Heads(heads(-2.0).right, heads(1.0).right)
    given_up = ByModel(nothing, 0.5).judge(BORNE)
    assert given_up.abstains and given_up.probability == pytest.approx(0.731, abs=1e-3)


def test_a_calibration_goes_through_json_and_one_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = json.loads(json.dumps(model((0.5,) * len(GRID), 20).to_dict()))
    assert SupportModel.from_dict(kept) == model((0.5,) * len(GRID), 20)
    with pytest.raises(ConfigurationError, match="damaged"):
        SupportModel.from_dict(kept | {"heads": {"right": [1.0], "nothing": [0.0]}})
    monkeypatch.setattr("turnout.router.support_model.VERSION", 99)
    with pytest.raises(ConfigurationError, match="version 1, not 99"):
        SupportModel.from_dict(kept)


def test_the_bound_is_the_least_threshold_whose_risk_fits_and_counts_what_it_needs() -> None:
    totals = tuple(max(4.0 - 8.0 * at, 0.0) for at in GRID)
    bound = model(totals, 39).bound
    assert bound.keep_from(0.125) == 0.0
    assert bound.keep_from(0.075) == pytest.approx(0.25)  # (4 - 8 t + 1) / 40 <= 0.075
    assert bound.keep_from(0.025) == pytest.approx(0.5)
    assert [documents_for(regret) for regret in (0.5, 0.1, 0.05, 0.02)] == [1, 9, 19, 49]
    with pytest.raises(ConfigurationError, match="takes 99 documents that were not fitted on, the calibration has 39"):
        bound.keep_from(0.01)
    never = replace(bound, totals=(39.0,) * (len(GRID) - 1) + (0.0,))
    assert never.keep_from(0.1) > 1


def test_where_nothing_may_be_kept_not_even_a_summary_is() -> None:
    summary = replace(BORNE, task="summarisation")
    assert ByModel(heads(0.0), 1.0).judge(summary).keeps
    assert not ByModel(heads(0.0), GRID[-1]).judge(summary).keeps


def test_of_weak_outcomes_the_rule_gives_an_abstention_before_an_answer_unless_two_agree() -> None:
    weak, abstention = Judgement(False, 0.25, False, ""), Judgement(False, 0.5, True, "")
    assert RULE.pick([("Marta", weak), ("Not in the text.", abstention)]) == 1
    assert RULE.pick([("Marta", weak), ("Not in the text.", abstention), ("Marta", weak)]) == 2
    assert not RULE.settles([("Marta", weak), ("Jonas", weak)])
    assert RULE.settles([("Marta", weak), ("Marta", weak)])

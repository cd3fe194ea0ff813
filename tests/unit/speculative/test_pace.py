"""Drafting goes on where measured steps and outcomes say that it pays, and stops where it does not."""

import pytest

from turnout.engines.speculative.pace import AGAIN, Pace, chain, fastest, tokens


def paced(row_s: float, accepted: int, refused: int, draft_s: float = 0.0) -> Pace:
    """After rounds of four proposals with one outcome; a plain step takes a second."""
    pace = Pace()
    for _ in range(20):
        pace.stepped(1, 1.0)
        pace.stepped(5, 1.0 + 4 * row_s)
        pace.drafted(4, 4 * draft_s)
        pace.verified(accepted, refused)
    return pace


def test_what_was_never_measured_is_tried_after_a_plain_step() -> None:
    pace = Pace()
    assert pace.worth(6) == 0
    pace.stepped(1, 1.0)
    assert pace.worth(6) == 6


def test_free_proposals_that_come_true_are_all_taken() -> None:
    assert paced(0.0, 4, 0).worth(10) == 10


def test_proposals_that_cost_more_than_they_save_are_left_out_but_for_one_chance_in_some() -> None:
    pace = paced(0.5, 0, 1)
    chances = [pace.worth(10) for _ in range(3 * AGAIN)]
    assert chances == 3 * [*[0] * (AGAIN - 1), 2], "and that one takes a plain step more"
    assert [paced(cost, 0, 1).worth(10) for cost in (0.0, 3.0)] == [10, 0], "what is free is always worth it"


def test_dear_drafts_do_not_pay_where_cheap_ones_do() -> None:
    assert paced(0.05, 3, 1, draft_s=0.1).worth(10) > 0
    assert paced(0.05, 3, 1, draft_s=2.0).worth(10) == 0
    assert paced(0.05, 3, 1, draft_s=2.0).worth(10, least=1) == 1


def test_kinds_are_judged_apart() -> None:
    pace = paced(0.3, 4, 0)
    for _ in range(20):
        pace.verified(0, 1, kind=1)
    assert pace.worth(4, kind=0) == 4 and pace.worth(4, kind=1) == 0


def test_one_slow_step_changes_nothing() -> None:
    pace = paced(0.1, 3, 1)
    before = pace.worth(10)
    pace.stepped(5, 100.0)
    pace.stepped(1, 100.0)
    assert pace.worth(10) == before


def test_another_outcome_is_learnt() -> None:
    pace = paced(0.3, 4, 0)
    for _ in range(60):
        pace.verified(0, 1)
    assert pace.worth(4) == 0


def test_the_best_number_is_that_of_the_published_formula() -> None:
    # tokens of a round: (1 - a^(k + 1)) / (1 - a), arXiv 2211.17192
    assert tokens(0.5, 3) == pytest.approx((1 - 0.5**4) / 0.5)
    # drafts at half a step, nine of ten accepted: three to four are best (methods-routing 2.6)
    assert fastest(chain(0.9, 10), 1.0, 0.5) in (3, 4)
    assert fastest(chain(0.9, 10), 1.0, 1.1) == 0

"""Shadow mode: what the router would have chosen is written down, and the user's own strategy answers."""

from pathlib import Path

import pytest
from support.keeping import KeepingFake
from support.library import BOOK

from turnout import Budget, BudgetError, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import UnknownNameError

QUESTION = "Who repaired the lighthouse lamp?"
LONG = Text(BOOK * 6)


def test_the_fixed_strategy_answers_and_the_choice_is_on_paper(home: Path) -> None:
    engine = KeepingFake()
    with Turnout(engine=engine, shadow="full") as t:
        answer = t.ask(QUESTION, LONG)
        decision = t.explain(answer.id).record["decision"]
    assert answer.decision.chosen == "full"
    assert sum(len(part.text) for part in engine.contexts[0].parts) == len(LONG.text)
    assert answer.decision.on_paper == "rag"
    assert answer.decision.policy.endswith("shadow")
    assert answer.decision.because[0].startswith("on paper: rag instead of full: expected score +0.0")
    assert (decision["chosen"], decision["on_paper"]) == ("full", "rag")


def test_a_report_says_what_would_have_changed(home: Path) -> None:
    with Turnout(engine=FakeEngine(), shadow="full") as t:
        for text in (LONG, Text(BOOK)):
            t.ask(QUESTION, text)
        told = t.regret()["shadow"]
    assert told["answers"] == 2 and told["changed"] == 1
    assert told["choices"]["full"]["rag"] == 1
    assert told["score"] > 0


def test_a_strategy_by_name_is_no_shadow_and_limits_hold(home: Path) -> None:
    with Turnout(engine=FakeEngine(), shadow="full") as t:
        assert t.plan(QUESTION, LONG, strategy="rag").on_paper is None
        with pytest.raises(BudgetError):
            t.plan(QUESTION, LONG, budget=Budget(max_prompt_tokens=2000))
    with Turnout(engine=FakeEngine(), shadow="fulll") as t, pytest.raises(UnknownNameError, match="did you mean"):
        t.plan(QUESTION, LONG)

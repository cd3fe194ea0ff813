"""The default model with the adapter that comes with it: the demo's answers are right, and it says where they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.process import turnout

pytestmark = pytest.mark.real

LEASE = """The lease of the mill begins on 1 May. The rent is 140 crowns a month and falls due on the first day.

The tenant may keep up to six geese in the yard. Mill and yard are handed over with two keys. The tenant insures the
wheel against ice and flood. Either side may end the lease with three months' notice.
"""


def test_the_three_answers_of_the_demo(real_home: Path) -> None:
    ran = turnout("demo")
    assert ran.code == 0, ran.err
    first, second, third = re.findall(r"^\$ turnout ask .*\n(.*)$", ran.out, re.MULTILINE)
    assert "data directory" in first
    assert "Apache-2.0" in second
    assert third.startswith("40 ")


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    path = tmp_path / "lease.md"
    path.write_text(LEASE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many geese may the tenant keep?", "six"),
        pytest.param("How much is the rent a month?", "140", marks=pytest.mark.slow),
    ],
)
def test_an_answer_is_short_and_names_a_sentence(real_home: Path, lease: Path, question: str, answer: str) -> None:
    found = json.loads(turnout("ask", str(lease), question, "--json").out)
    assert answer in found["text"]
    assert len(found["text"]) < 30
    assert found["model"]["adapter"] == "reader1"
    (citation,) = found["citations"]
    assert (citation["found"], citation["origin"]) == ("exact", "quoted")
    assert citation["quote"] in LEASE
    assert citation["quote"].endswith(".")


def test_what_the_text_does_not_say_is_refused(real_home: Path, lease: Path) -> None:
    ran = turnout("ask", str(lease), "Who is the guarantor of the tenant?")
    assert ran.code == 3
    assert ran.out.startswith("Not in the text.")


@pytest.mark.slow
def test_without_its_adapter_it_is_another_model(real_home: Path, lease: Path) -> None:
    question = "How many geese may the tenant keep?"
    adapted, plain = (
        json.loads(turnout("ask", str(lease), question, "--json", *flags).out) for flags in ((), ("--no-adapter",))
    )
    assert adapted["model"]["adapter"] == "reader1"
    assert plain["model"]["adapter"] is None

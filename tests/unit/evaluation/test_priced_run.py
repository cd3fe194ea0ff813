"""Runs with a price file: rows cost what their measured tokens cost, and reports say in which currency."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import questions as towns
from support.embedders import WordEmbedder
from support.rows import facts, row

from turnout import evaluate
from turnout.engines.fake import FakeEngine
from turnout.engines.in_flight import Load
from turnout.errors import ConfigurationError
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.report_page import page
from turnout.router.evaluation.report_text import terminal
from turnout.router.evaluation.rows import Run, read_run

INPUT, OUTPUT = 3.0, 200.0
EXPECTED_TOKENS = 24
REFUSED = "Not in the text."


class Busy(FakeEngine):
    def in_flight(self) -> Load:
        return Load(waiting=3, unread_tokens=9000, prompt_tokens=9000, unwritten_tokens=90)


def write_prices(path: Path, output: float = OUTPUT) -> Path:
    path.write_text(f'currency = "EUR"\n[models.fake]\ninput = {INPUT}\noutput = {output}\n', encoding="utf-8")
    return path


def run(tmp_path: Path, engine: FakeEngine, prices: Path) -> tuple[dict[tuple[str, str], dict[str, Any]], Path]:
    questions, documents = towns.towns(tmp_path / "data", count=2)
    out = tmp_path / "out"
    evaluate.run([questions], [documents], out, engine=engine, embedder=WordEmbedder(), prices=prices)
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return {(each["question_id"], each["strategy"]): each for each in rows}, out


def test_rows_cost_what_their_tokens_cost_whatever_deciding_took(tmp_path: Path) -> None:
    prices = write_prices(tmp_path / "prices.toml")
    rows, out = run(tmp_path, FakeEngine(answers=[REFUSED]), prices)
    for (question, name), each in rows.items():
        usage = each["usage"]
        paid = (usage["prompt_tokens"] * INPUT + usage["completion_tokens"] * OUTPUT) / 1e6
        assert usage["cost"] == pytest.approx(paid), (question, name)
        if name in ("full", "rag", "router"):
            expected = each["predicted"]["prompt_tokens"] * INPUT + EXPECTED_TOKENS * OUTPUT
            assert each["predicted"]["cost"] == pytest.approx(expected / 1e6)
        if name == "router":
            chosen = rows[question, each["chosen"]]["usage"]
            assert usage["cost"] == chosen["cost"] and usage["total_s"] > chosen["total_s"]
        if name == "self_route":
            both = [rows[question, attempt]["usage"]["cost"] for attempt in ("rag", "full")]
            assert usage["cost"] == pytest.approx(sum(both)), "both attempts are paid for"
    known = json.loads((out / "run.json").read_text())["prices"]
    assert (known["currency"], known["output"]) == ("EUR", OUTPUT)
    assert str(tmp_path) not in (out / "decisions.jsonl").read_text()
    lines = terminal(figures(read_run(out)))
    assert any(line.startswith("cost") and line.endswith(" EUR a question") for line in lines)


def test_a_run_is_not_gone_on_with_at_other_prices(tmp_path: Path) -> None:
    run(tmp_path, FakeEngine(), write_prices(tmp_path / "prices.toml"))
    with pytest.raises(ConfigurationError, match="holds a run with prices"):
        run(tmp_path, FakeEngine(), write_prices(tmp_path / "other.toml", output=1.0))


def test_what_else_a_server_does_for_the_run_changes_no_decision(tmp_path: Path) -> None:
    _, out = run(tmp_path, Busy(), write_prices(tmp_path / "prices.toml"))
    for line in (out / "decisions.jsonl").read_text().splitlines():
        known = json.loads(line)["signals"]
        assert (known["load"], known["wait_s"]) == (None, [0.0, 0.0, 0.0])


def test_a_report_without_prices_names_no_currency() -> None:
    rows = [row("q1", name, usage={"cost": 0.5, "total_s": 2.0}) for name in ("full", "rag")]
    known = facts(questions=1, documents=1)
    unpriced = figures(Run(Path("run"), known, tuple(rows)))  # type: ignore[arg-type]
    assert not any(line.startswith("cost") for line in terminal(unpriced))
    priced = figures(Run(Path("run"), known | {"prices": {"currency": "EUR"}}, tuple(rows)))  # type: ignore[arg-type]
    (line,) = [line for line in terminal(priced) if line.startswith("cost")]
    assert line.startswith("cost        full 0.5, rag 0.5, ") and line.endswith(" 0.5 EUR a question")
    assert "cost, EUR</th>" in page(priced, rows)  # type: ignore[arg-type]
    assert "cost, EUR</th>" not in page(unpriced, rows)  # type: ignore[arg-type]

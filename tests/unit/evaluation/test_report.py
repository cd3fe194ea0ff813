import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.rows import facts, realistic, row, write_run

from turnout import evaluate
from turnout.cli.eval_report import report as command
from turnout.errors import ConfigurationError, MissingExtraError
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.plots import write_svgs
from turnout.router.evaluation.report_page import page, write_page
from turnout.router.evaluation.report_text import terminal
from turnout.router.evaluation.rows import Run


def run(rows: list[dict[str, Any]], **changes: Any) -> Run:
    asked = {"questions": len({row["question_id"] for row in rows})}
    return Run(Path("run"), facts(**(asked | changes)), tuple(rows))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def measured() -> Run:
    return run(realistic(4), documents=20)


@pytest.fixture(scope="module")
def report(measured: Run) -> dict[str, Any]:
    return figures(measured)


def forty() -> list[dict[str, Any]]:
    """40 questions: rag 0.55, the router 0.57, full 0.41 and cut in 31."""
    rows = []
    for number in range(40):
        swing = 0.2 if number % 2 else -0.2
        gain = 0.1 if number % 4 < 2 else -0.06
        slow = {"total_s": 7.9, "ttft_s": 6.0, "prompt_tokens": 7940, "cost": 7.9}
        quick = {"total_s": 2.3, "prompt_tokens": 1230, "cost": 2.3}
        rows += [
            row(f"q{number}", "full", 0.41 + swing, usage=slow, truncated=number < 31),
            row(f"q{number}", "rag", 0.55 + swing, usage=quick),
            row(f"q{number}", "router", 0.55 + swing + gain, usage=quick | {"total_s": 2.1}, chosen="rag"),
        ]
    return rows


def test_terminal_layout() -> None:
    lines = terminal(figures(run(forty(), documents=12)), page="runs/msa/report.html")
    assert lines[0] == "40 questions  12 documents  small-model  2 cores  seed 1  cache cold  0 rows failed"
    assert lines[1].split("   ")[0] == ""
    assert re.split(r"\s{2,}", lines[1].strip()) == [
        *("score [95%]", "vs best single", "s/question", "prompt", "found", "evidence", "not-in-text P/R")
    ]
    table = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line.strip()) for line in lines[2:8])}
    assert [*table] == ["router", "full*", "rag", "task_rule*", "random", "oracle"]
    assert re.fullmatch(r"0\.57 \[0\.\d\d, 0\.\d\d\]", table["router"][0])
    assert table["router"][1].startswith("+0.02 [")
    assert table["rag"][1:] == ["best single", "2.3", "1,230", "1.00", "-", "- / -"]
    assert table["full*"][2:4] == ["7.9", "7,940"]
    assert table["random"][4:] == ["-", "-", "-"]
    assert table["oracle"][1] == "not reachable (chooses after seeing the scores)"
    # predicted 1.0 s; measured 6.0 s for full, 1.0 s for rag: half of the ratios are 0.17, half 1.00
    assert lines[8] == (
        "* cut to the window in 31 of 40     first word predicted/measured: median 0.58, p10-p90 0.17-1.00"
    )
    (verdict,) = [line for line in lines if line.startswith("verdict")]
    assert verdict.startswith("verdict     rag and router not told apart at n=40 (0.02 needs about ")
    assert lines[-1] == "page        runs/msa/report.html"
    starts = {line.index(cell) for line, cell in zip(lines[1:4], ("s/question", "2.1 ", "7.9 "), strict=True)}
    assert len(starts) == 1, "columns are aligned"


def test_what_spoils_a_measurement_is_said() -> None:
    rows = [r | {"usage": r["usage"] | {"cached_tokens": 5}} for r in forty()]
    rows[0] |= {"score": None, "usage": {}, "error": {"kind": "EngineError", "message": "no"}}
    limits = {"max_ttft_s": 2.0, "max_prompt_tokens": 8000, "optimize": "quality"}
    gpu = "Some CPU, 2 cores, 24 GiB, Some GPU"
    lines = terminal(figures(run(rows, budget=limits, finished=None, device=gpu, documents=12)))
    assert lines[0].startswith("39 of 40 questions")
    assert lines[0].endswith("2 cores  Some GPU  seed 1  cache cold  not finished  1 row failed  1 question left out")
    assert "  of 12 documents  " in lines[0], "how many of them were read is not known yet"
    assert "* cut to max_prompt_tokens 8,000 or the window in 30 of 39" in "\n".join(lines)
    assert "not cold    full had cached tokens in 39 rows" in lines
    assert "budget      max_ttft_s 2.0 kept: router 100%, full 0%, rag 100%" in lines


def test_intervals_that_say_too_little_are_named() -> None:
    rows = [row("q1", "rag", dataset="a"), row("q2", "rag", dataset="b"), row("q3", "rag", dataset="b")]
    lines = terminal(figures(run(rows)))
    assert "too narrow  the intervals: 1 of 2 datasets has one question, and so no spread" in lines


def test_one_of_a_kind_is_not_many() -> None:
    rows = [r | {"cluster": "d"} for r in (row("q1", "full", 0.9), row("q1", "rag", 0.1))]
    rows[0]["usage"] |= {"cached_tokens": 5}
    found = run(rows, documents=1)
    text = "\n".join(terminal(figures(found)))
    assert "1 question  1 document  " in text
    assert "full had cached tokens in 1 row\n" in text
    assert "the intervals: 1 of 1 dataset has one question" in text
    assert "they score differently on 1 question\n" in text + "\n"
    assert "1 of 1 question on which full and rag differ most" in page(figures(found), found.rows)


def test_a_strategy_without_a_usable_row_is_named() -> None:
    failed = [row(f"q{n}", "rag", None, error={"kind": "BudgetError", "message": "no"}) for n in range(5)]
    found = run([*(row(f"q{n}", "full") for n in range(5)), *failed])
    lines = terminal(figures(found))
    assert lines[0].endswith("5 rows failed")
    assert "rag         no row without an error (5 failed)" in lines
    assert "<li>rag: no row without an error (5 failed)</li>" in page(figures(found), found.rows)


def test_what_a_strategy_was_left_out_of_is_said_and_leaves_a_gap() -> None:
    rows = forty()
    for line in rows:
        if line["strategy"] == "full" and line["truncated"]:
            line |= {"truncated": False, "score": None, "usage": {}, "context_tokens": 9000}
            line["left_out"] = {"limit": "window", "allowed": 8192, "needed": 9048}
        elif int(line["question_id"][1:]) < 31:
            line["context_tokens"] = 9000
    found = run(rows, documents=12)
    report = figures(found)
    lines = terminal(report, details=True)
    table = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line.strip()) for line in lines[2:8])}
    assert re.fullmatch(r"0\.\d\d \[0\.\d\d, 0\.\d\d\] n=9", table["full"][0])
    assert "n=" not in table["rag"][0] + table["router"][0]
    note = "left out of 31 of 40 questions, too long for the window 31; its figures are of the others"
    assert f"full        {note}" in lines
    assert re.findall(r" at n=(\d+)", "\n".join(lines)) == ["40", "9", "9"]
    html = page(report, found.rows)
    assert f"<li>full: {note}</li>" in html
    assert "<small>n=9</small>" in html and "<dd>left out</dd>" not in html, "these facts say nothing of it"
    (longer,) = [line for line in lines if line.strip().startswith("8-16K")]
    assert re.split(r"\s{2,}", longer.strip())[2:5] == ["0.57", "-", "0.54"]
    unusable = [line for line in rows if line["strategy"] != "full" or "left_out" in line]
    assert "full        left out of every question: too long for it" in terminal(figures(run(unusable)))


def test_quotes_and_citations_are_told_apart(measured: Run, report: dict[str, Any]) -> None:
    text = page(report, measured.rows)
    for name in ("quotes found", "citations in gold", "evidence"):
        assert f'<th scope="col">{name}</th>' in text
        assert f"<dt>{name}</dt>" in text


@pytest.mark.parametrize(("price", "shown"), [(1.0, False), (0.004, True)])
def test_a_cost_stands_beside_the_seconds_where_it_says_more(price: float, shown: bool) -> None:
    rows = [r | {"usage": r["usage"] | {"cost": price * r["usage"]["total_s"]}} for r in forty()]
    found = run(rows)
    assert ('<th scope="col">cost</th>' in page(figures(found), found.rows)) is shown


def test_a_fallback_is_named() -> None:
    rows = [row("q1", "rag"), row("q1", "soft", fallback="rag")]
    assert "soft        rag's answer in 1 of 1" in terminal(figures(run(rows)))


def test_details_add_tables_by_task_and_by_length(report: dict[str, Any]) -> None:
    plain, full = terminal(report), terminal(report, details=True)
    added = [line.split()[0] for line in full if line not in plain and line]
    tasks = [part["name"] for part in report["tasks"]]
    assert added == ["by", *tasks, "mean", "by", *(part["name"] for part in report["lengths"]), "closed"]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_the_page_needs_nothing_from_outside(measured: Run, report: dict[str, Any]) -> None:
    text = page(report, measured.rows)
    assert "://" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    tags = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in tags.tags}
    for _, attributes in tags.tags:
        for name in ("href", "xlink:href", "src", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith("#")


def test_the_page_is_whole_and_accessible(measured: Run, report: dict[str, Any]) -> None:
    tags = Page(page(report, measured.rows))
    assert tags.open == []
    assert tags.count("svg") == 4
    assert tags.count("table") == tags.count("caption") >= 6
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes for _, attributes in tags.tags if attributes.get("role") == "img"]
    assert len(named) == 4
    assert all(len(attributes["aria-label"] or "") > 50 for attributes in named)
    linked = {attributes["aria-labelledby"] for _, attributes in tags.tags if "aria-labelledby" in attributes}
    assert linked <= set(ids)


def test_text_of_others_is_escaped() -> None:
    attack = "<script>alert(1)</script>\"'&"
    rows = [r | {"question_id": attack + r["question_id"], "dataset": attack, "task": attack} for r in forty()]
    model = {"name": attack, "fingerprint": attack, "window": 8192, "parameters": None}
    hostile = run(rows, model=model, command=attack)
    text = page(figures(hostile), hostile.rows)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert Page(text).open == []


def test_the_same_rows_give_the_same_page(measured: Run, report: dict[str, Any], tmp_path: Path) -> None:
    write_page(report, measured.rows, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(report, measured.rows[::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_of_one_strategy() -> None:
    alone = run([row("q1", "rag", predicted=dict.fromkeys(("ttft_s", "total_s", "prompt_tokens", "quality")))])
    text = page(figures(alone), alone.rows)
    assert Page(text).count("svg") == 2  # neither predictions nor an oracle to compare with
    assert "nothing to tell apart" in text


def test_plots_as_files(measured: Run, report: dict[str, Any], tmp_path: Path) -> None:
    files = write_svgs(report, measured.rows, tmp_path / "plots")
    assert [file.name for file in files] == ["frontier.svg", "length.svg", "first-word.svg", "regret.svg"]
    before = [file.read_bytes() for file in files]
    for text in before:
        assert text.startswith(b"<?xml")
        assert b"currentColor" not in text
        assert b"metadata" not in text
    write_svgs(report, measured.rows, tmp_path / "plots")
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_the_extra_the_terminal_still_reports(
    library: str, measured: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    report = figures(measured)
    assert terminal(report, details=True)
    with pytest.raises(MissingExtraError, match="the report page needs the extra 'eval'"):
        write_page(report, measured.rows, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "r", [row(f"q{n}", name) for n in range(3) for name in ("full", "rag")])


@pytest.mark.parametrize("target", ["", ".", "nowhere/page.html", "r", "r/run.json/page.html"])
def test_a_page_that_can_not_be_written_is_refused(
    target: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match="the page can't be written to") as caught:
        evaluate.report(folder, target)
    assert "--no-page" in caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_only_to_be_read_is_reported_without_a_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)  # a folder's mode would not keep root out
    with pytest.raises(ConfigurationError, match=r"report\.html: Permission denied"):
        evaluate.report(folder)
    assert evaluate.report(folder, with_page=False)["page"] is None


@pytest.mark.parametrize("option", ["--json", "--no-page"])
def test_no_page_is_written(option: str, folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), option], standalone_mode=False)
    assert result.exception is None
    assert not (folder / "report.html").exists()
    assert "page" not in result.stderr
    both = CliRunner().invoke(command, [str(folder), option, "--page", "x.html"])
    assert (both.exit_code, "goes with neither" in both.stderr) == (2, True)


def test_a_run_that_says_next_to_nothing_is_reported(tmp_path: Path) -> None:
    """Every fact that a run must have is there, and null where it can be."""
    bare = dict.fromkeys(facts()) | {"schema": 1, "model": {"name": "m", "fingerprint": "f", "window": 8192}}
    optional = ("parallel", "set", "limit", "malformed", "profile", "overhead", "inputs", "questions")
    rows = [row("q1", "full"), row("q1", "rag")]
    folder = write_run(tmp_path / "r", rows, **bare)
    stored = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({name: stored[name] for name in stored if name not in optional}))
    found = evaluate.report(folder)
    assert evaluate.report_lines(found["figures"], details=True)[0].startswith(
        "1 of ? questions  of ? documents  m  ? cores"
    )
    assert (folder / "report.html").exists()

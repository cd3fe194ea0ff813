"""Every example runs, on the fake engine here and on the default model in tests/real."""

import runpy
from pathlib import Path

import pytest
from support.library import BOOK

from turnout.engines.fake import FakeEngine

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_ask_one_file_is_short_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = EXAMPLES / "ask_one_file.py"
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 21
    book = tmp_path / "book.md"
    book.write_text(BOOK, encoding="utf-8")
    runpy.run_path(str(source))["main"](str(book), "Who repaired the lighthouse lamp?", engine=FakeEngine())
    printed = capsys.readouterr().out
    assert "Marta Lindqvist" in printed
    assert "book.md l.3" in printed

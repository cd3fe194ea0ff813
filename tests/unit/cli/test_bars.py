"""Progress where there is no terminal: a line a minute for long work, nothing for the rest."""

import pytest

from turnout.cli import bars
from turnout.cli.bars import Bars


def test_long_work_prints_a_line_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    show = Bars(show=False)
    show("embedding", 1, 10)
    for done in range(1, 8):
        show("evaluating", done, 100)
        now[0] += 30.0
    # 30 s a row: 97, 95 and 93 rows are left at 60, 120 and 180 s.
    assert capsys.readouterr().err.splitlines() == [
        "measuring rows: 3 of 100, about 48 min left",
        "measuring rows: 5 of 100, about 48 min left",
        "measuring rows: 7 of 100, about 46 min left",
    ]


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "LINE_EVERY_S", 0.0)
    show = Bars(show=False)
    for done in range(10):
        show("embedding", done, 10)
    assert capsys.readouterr().err == ""

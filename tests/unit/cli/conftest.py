"""Runs commands in this process, on the fake engine."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from turnout.cli.main import main


@dataclass
class Run:
    code: int
    out: str
    err: str


@pytest.fixture
def turnout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    monkeypatch.setenv("TURNOUT_MODEL", "fake")

    def run(*arguments: str) -> Run:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capsys.readouterr()
        return Run(int(stop.value.code or 0), captured.out, captured.err)

    return run

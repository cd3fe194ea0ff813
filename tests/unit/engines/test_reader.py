"""Streams that run in threads of their own: whatever ends them ends the waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from turnout.engines.pump import Pump
from turnout.engines.reader import ThreadReader
from turnout.errors import EngineError

ENDS = [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("which", [ThreadReader, Pump])
def test_what_would_end_a_thread_or_a_task_is_an_error_of_the_engine(which: type, kind: type[BaseException]) -> None:
    def blocking() -> Iterator[int]:
        yield 1
        raise kind

    async def asynchronous() -> AsyncIterator[int]:
        yield 1
        raise kind

    stream = which(blocking if which is ThreadReader else asynchronous)
    seen: list[int] = []
    with pytest.raises(EngineError, match=kind.__name__) as failed:
        for waited, item in enumerate(stream.poll()):
            assert waited < 100, "nothing will come any more"
            seen += [item] if item is not None else []
    stream.close()
    assert seen == [1]
    assert isinstance(failed.value.__cause__, kind)


@pytest.mark.parametrize("which", [ThreadReader, Pump])
def test_an_error_is_raised_as_it_is(which: type) -> None:
    def refuse() -> Iterator[int]:
        raise ValueError("no")

    stream = which(refuse)
    with pytest.raises(ValueError, match="no"):
        list(stream.poll())
    stream.close()

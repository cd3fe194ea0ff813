"""From a growing answer to what a caller may see: no quote lines, and no text that could still become a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from turnout.router.check import may_become_refusal
from turnout.router.citations import growing_answer, split_quotes


class Visible:
    """Follows a growing answer. What was shown, put together, is the answer's text; `raw` is all of it.

    Args:
        settled: says of a beginning whether it is sure to stay; only such text is shown before the end.
    """

    def __init__(self, settled: Callable[[str], bool] = lambda text: True) -> None:
        self._settled = settled
        self.raw = ""
        self.shown = ""

    def push(self, text: str) -> Iterator[str]:
        """New text that may be shown, if there is any."""
        self.raw += text
        visible = growing_answer(self.raw)
        if not may_become_refusal(visible) and self._settled(visible):
            yield from self._show(visible)

    def finish(self, abstained: bool) -> Iterator[str]:
        """What was held back; nothing of an answer that turned out to be an abstention."""
        visible, _ = split_quotes(self.raw)
        if not abstained:
            yield from self._show(visible)

    def take_back(self) -> None:
        """What was shown is gone from the screen."""
        self.shown = ""

    def _show(self, visible: str) -> Iterator[str]:
        new = visible[len(self.shown) :]
        if new:
            self.shown = visible
            yield new

"""Who waits for a model, and who may begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from turnout.engines.paged.sequence import KvSequence
from turnout.engines.scheduler.answer import Answer
from turnout.errors import MemoryLimitError

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session

PASSED = 8
"""A request for which there is no room yet lets so many others, for which there is, begin before it."""


class Line:
    """Belongs to the owner's thread.

    Args:
        session: where room is taken, if keys and values lie in pages.

    Attributes:
        waiting: in the order in which they came.
    """

    def __init__(self, session: Session | None) -> None:
        self.waiting: list[Answer] = []
        self._session = session
        self._without_room: set[Answer] = set()
        self._coming: set[object] = set()
        self._visitors: dict[object, int] = {}

    @property
    def can_begin(self) -> bool:
        """Whether somebody may begin though nobody runs: what waits for visitors does so after their work."""
        return bool(self.waiting) and not (self._coming or self._visitors)

    def begin(self, running: list[Answer], most: int) -> list[Answer]:
        """Begins what waits, in order, as far as there is room; the last of those that run are new then.

        One for which there is none waits for those that run, and PASSED later ones may begin before it; where nobody
        runs it is refused. One that begins as a prompt that is being read waits until that part is read.

        Args:
            most: how many may run at once.

        Returns:
            Those that were begun.
        """
        blocked: list[Answer] = []
        begun: list[Answer] = []
        for answer in [] if self._coming else list(self.waiting):
            if len(running) >= most or any(other.passed >= PASSED for other in blocked):
                break
            if answer in self._without_room:
                blocked.append(answer)
            elif not _is_read_by_another(answer, running):
                if self._has_begun(answer, running):
                    begun.append(answer)
                    for other in blocked:
                        other.passed += 1
                elif not answer.is_over:
                    blocked.append(answer)
        return begun

    def let_in(self, visitor: object, tokens: int, running: Sequence[Answer]) -> bool:
        """Whether a visitor has its room, which is kept for it then; until then nobody begins. Where nobody runs there
        will never be more."""
        if not running or self._session is None or self._session.room() >= tokens:
            self._coming.discard(visitor)
            self._visitors[visitor] = tokens
            return True
        self._coming.add(visitor)
        return False

    def let_out(self, visitor: object) -> None:
        """A visitor is gone."""
        self._coming.discard(visitor)
        self._visitors.pop(visitor, None)
        self._without_room.clear()

    def sweep(self, *, is_freed: bool) -> list[Answer]:
        """Lets go of those that are over, and returns them. Args: is_freed: there is more room than before."""
        gone = [answer for answer in self.waiting if answer.is_over]
        self.waiting = [answer for answer in self.waiting if not answer.is_over]
        if is_freed:
            self._without_room.clear()
        self._without_room.difference_update(gone)
        return gone

    def _has_begun(self, answer: Answer, running: list[Answer]) -> bool:
        """Whether it runs now; if not, it is over, or there is no room."""
        if self._session is not None and self._visitors:
            # What they have taken of it already counts twice, which costs some waiting at most.
            left = self._session.room() - answer.most_tokens
            if left < sum(self._visitors.values()):
                self._without_room.add(answer)
                return False
        try:
            answer.begin(sum(other.promised_bytes for other in running))
        except MemoryLimitError as error:
            if running or self._visitors:
                self._without_room.add(answer)
            else:
                answer.fail(error)
            return False
        except Exception as error:
            answer.fail(error)
            return False
        self.waiting.remove(answer)
        running.append(answer)
        return True


def _is_read_by_another(answer: Answer, running: Sequence[Answer]) -> bool:
    """Whether it would read what another one is reading. What is read of that already it finds afterwards."""
    if answer.follows is not None:
        other, same = answer.follows
        if other.is_reading and other.author.prompt[0].length < same:
            return True
        answer.follows = None
    sequence, ids = answer.author.prompt
    if not isinstance(sequence, KvSequence):
        return False
    for other in running:
        reading, theirs = other.author.prompt
        if other.is_reading and isinstance(reading, KvSequence) and reading.root == sequence.root:
            same = min(_alike(ids, theirs), len(ids) - 1) // sequence.grid * sequence.grid
            if same and same > sequence.resident(ids):
                if reading.length < same:
                    answer.follows = other, same
                    return True
                reading.publish()
    return False


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike, by halves, because slices are compared quickly."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

"""A model that is loaded: its network and pages, the thread that has them, and the requests that it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from turnout.engines import loading
from turnout.engines.admission import Admission
from turnout.engines.answering import Author
from turnout.engines.meter import Meter
from turnout.engines.paged.kinds import Adapted
from turnout.engines.paged.policy import AttentionPolicy
from turnout.engines.paged.session import Session
from turnout.engines.scheduler.answer import Answer
from turnout.engines.scheduler.owner import Owner
from turnout.engines.scheduler.scheduler import Scheduler
from turnout.engines.scheduler.shares import Step, half_of
from turnout.engines.writing import Writing

if TYPE_CHECKING:
    from turnout.engines.paged.sequence import KvSequence

WARM_UP_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an engine has while it is open.

    Attributes:
        session: None where keys and values do not lie in pages.
    """

    network: Any
    session: Session | None
    owner: Owner
    scheduler: Scheduler
    admission: Admission
    device: str
    chunk: int

    @classmethod
    def of(
        cls,
        name: str,
        network: Any,
        paged: Callable[[Owner], Session | None],
        admission: Admission,
        device: str,
        chunk: int,
        waiting: int,
    ) -> Loaded:
        """Makes pages for a network, and warms both up.

        Args:
            name: of the model.
            paged: makes the session of an owner.
            waiting: requests that may wait.
        """
        owner = Owner(f"turnout-{name}")
        admission.session = session = paged(owner)
        step = Step(chunk, half_of(admission.footprint.model))
        found = cls(network, session, owner, Scheduler(name, owner, session, step, waiting), admission, device, chunk)
        # The weights are mapped from disk and the kernels made at first use: that belongs to loading.
        warm_up = found.sequence(None, adapted=True, policy=None)
        warm_up.append([0] * WARM_UP_TOKENS)
        warm_up.append([0])
        warm_up.close(keep=False)
        return found

    def close(self) -> None:
        """Ends what waits and runs with an error, and then the thread."""
        self.scheduler.close()
        self.owner.close()
        self.admission.session = None

    def sequence(
        self, namespace: str | None, *, adapted: Adapted, policy: AttentionPolicy | None
    ) -> loading.Sequence | KvSequence:
        """An empty sequence."""
        if self.session is not None:
            return self.session.sequence(namespace, adapted=adapted, policy=policy)
        return loading.Sequence(self.network, self.device, self.chunk, self.owner)

    def answer(self, author: Author, writing: Writing, beside: int = 0) -> Answer:
        """A request, whose time begins now.

        Args:
            beside: tokens of another sequence of it in the same pages.
        """
        admission, session = self.admission, self.session
        pool_bytes = session.pool_bytes if session is not None else (lambda: 0)
        meter = Meter(self.device, admission.footprint.weights, writing.params.timeout_s, pool_bytes)
        tokens, most = author.prompt_tokens, writing.most

        def fits(promised: int) -> None:
            admission.check_now(tokens, most, beside, promised)

        return Answer(author, writing, meter, fits, admission.footprint.cache if session else (lambda tokens: 0))

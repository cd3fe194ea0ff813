"""What came of speculative decoding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one answer: tokens that were proposed, and those of them that were accepted, in how many verifying steps."""

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def rate(self) -> float | None:
        """Share that was accepted; None where nothing was proposed."""
        return self.accepted / self.drafted if self.drafted else None

    def plus(self, drafted: int, accepted: int) -> Counts:
        """One step more."""
        return Counts(self.rounds + 1, self.drafted + drafted, self.accepted + accepted)

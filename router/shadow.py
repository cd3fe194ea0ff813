"""Shadow mode: the router decides on paper, and the strategy that the user runs anyway answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from turnout.router.policy import FORCED
from turnout.types import Candidate, Decision

SHADOW = " shadow"
"""Ends the policy of a decision that was made on paper only."""


def run_instead(run: Decision, paper: Decision | None) -> Decision:
    """The decision for the strategy that is run, with what the router would have chosen.

    Args:
        run: of the strategy that the user fixed.
        paper: the router's own; None where no strategy that it may take is inside the limits.
    """
    policy = run.policy.removesuffix(FORCED) + SHADOW
    if paper is None:
        return replace(run, policy=policy, because=("on paper: no strategy is inside the limits", *run.because))
    line = f"on paper: {paper.chosen}{_apart(paper.candidates, paper.chosen, run.chosen)}"
    return replace(
        run, policy=policy, on_paper=paper.chosen, because=(line, *paper.because), would_flip=paper.would_flip
    )


def _apart(candidates: Sequence[Candidate], paper: str, run: str) -> str:
    """What the choice on paper is expected to have over the one that is run."""
    if paper == run:
        return ", as is run"
    by_name = {candidate.strategy: candidate for candidate in candidates}
    one, other = by_name[paper], by_name[run]
    parts = []
    if one.quality is not None and other.quality is not None:
        parts.append(f"expected score {one.quality - other.quality:+.2f}")
    if one.total_s is not None and other.total_s is not None:
        parts.append(f"{one.total_s - other.total_s:+.1f} s")
    return f" instead of {run}: {', '.join(parts)}" if parts else f" instead of {run}"

"""Which mode of escalation a question is asked with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.checks import check_escalation
from turnout.config import Escalate
from turnout.router.escalation import check_bound

if TYPE_CHECKING:
    from turnout.parts import Parts


def mode(parts: Parts, escalate: Escalate | None, max_regret: float | None, strategy: str | None) -> Escalate:
    """What the caller asked for, else the settings; else "before_text" where it was measured to gain, or where a bound
    is asked for, and otherwise "off". A strategy that is insisted on is the only one asked.

    Raises:
        UnknownNameError: no such mode.
        ConfigurationError: a contradiction, or a bound that no calibration of this model gives.
    """
    check_escalation(escalate, max_regret, strategy)
    if strategy is not None:
        return "off"
    chosen = escalate or parts.settings.escalate
    if max_regret is not None:
        check_escalation(chosen, max_regret, strategy)
        check_bound(parts.support, max_regret)
        return chosen or "before_text"
    if chosen is not None:
        return chosen
    return "off" if parts.support is None or parts.support.keep_from is None else "before_text"

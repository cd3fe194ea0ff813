"""What a server is run with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Where it listens and what it bears.

    Attributes:
        host: address to listen on; port: 0 for any free one.
        max_request_mb: most megabytes of a request; it holds uploads, and documents that are given with a question.
        max_questions: most questions in flight; more are refused for now.
        drain_s: seconds that answers may take to end once the server shall stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_request_mb: float = 32.0
    max_questions: int = 64
    drain_s: int = 30

    @property
    def is_local(self) -> bool:
        """Only this machine reaches it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

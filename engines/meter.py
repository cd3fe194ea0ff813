"""Time and memory of one request."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from turnout.errors import EngineTimeoutError
from turnout.types import Finished, FinishReason


class Meter:
    """Starts when it is made, which is the acceptance of the request.

    Args:
        device: where the model runs.
        weight_bytes: memory of the weights, which were there before.
        timeout_s: seconds that `check` lets nothing pass; None for no limit.
        pool_bytes: memory that the page pool has taken from the system so far. Pages count by themselves, because
            another request may have taken their memory first.
    """

    def __init__(
        self, device: str, weight_bytes: int, timeout_s: float | None, pool_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        self._device = device
        self._weight_bytes = weight_bytes
        self._timeout_s = timeout_s
        self._begin = time.perf_counter()
        self._checked_s = 0.0
        self._first_token_s: float | None = None
        self._process = psutil.Process()
        self._cuda = device.startswith("cuda")
        self._pool_bytes = pool_bytes
        self._resident = self._peak = 0

    def begin(self) -> None:
        """The request's turn has come: memory counts from here. Of requests that run at once each counts what all of
        them take beside their pages."""
        self._peak = 0
        self._checked_s = time.perf_counter() - self._begin
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._resident = self._beside_pages()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._timeout_s is not None and time.perf_counter() - self._begin > self._timeout_s

    def check(self, *, more: bool) -> None:
        """Raises EngineTimeoutError where the time is over, or would be after one more step like the last.

        Args:
            more: whether there is such a step before the first token.
        """
        elapsed = time.perf_counter() - self._begin
        step, self._checked_s = elapsed - self._checked_s, elapsed
        if self._timeout_s is not None and elapsed + (step if more else 0.0) > self._timeout_s:
            raise EngineTimeoutError(
                f"the local model was stopped after {elapsed:.1f} s, the limit is {self._timeout_s:g} s",
                hint="allow more time, or give fewer documents",
            )

    def token(self) -> None:
        """Notes the first token's time."""
        if self._first_token_s is None:
            self._first_token_s = time.perf_counter() - self._begin

    def sample(self) -> None:
        """Looks at the memory now; on a GPU the driver keeps the peak itself."""
        if not self._cuda:
            self._peak = max(self._peak, self._beside_pages() - self._resident)

    def finished(
        self,
        reason: FinishReason,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
        page_bytes: int = 0,
    ) -> Finished:
        """The last event; peak memory is weights, the request's pages, and what it added beside them."""
        peak = self._weight_bytes + page_bytes + self._peak
        if self._cuda:
            import torch

            # The whole pool is there from the start; the request's share of it counts.
            peak = int(torch.cuda.max_memory_allocated(self._device)) - self._pool_bytes() + page_bytes
        return Finished(
            reason=reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
            first_token_s=self._first_token_s,
            peak_memory_bytes=peak,
        )

    def _beside_pages(self) -> int:
        return int(self._process.memory_info().rss) - self._pool_bytes()

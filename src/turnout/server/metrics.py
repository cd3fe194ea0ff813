"""What the server measures of itself, for Prometheus. No label holds text or the name of a collection."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from turnout.types import Answer

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OWN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1)


class Metrics:
    """One registry for each server, so that several in a process don't meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by route and status", "route", "status")
        self.seconds = self._histogram("request_seconds", "From a request to the end of its answer", _SECONDS, "route")
        self.own = self._histogram(
            "overhead_seconds", "Of a question's request, what was neither waiting, reading nor writing", _OWN_SECONDS
        )
        self.lag = self._histogram("loop_lag_seconds", "How late the event loop wakes", _OWN_SECONDS)
        self.going = Gauge("turnout_questions", "Questions in flight", registry=self.registry)
        self.answers = self._counter("answers", "Answers by strategy and outcome", "strategy", "outcome")
        self.tokens = self._counter("tokens", "Tokens by kind", "kind")
        self.first = self._histogram("first_word_seconds", "From a question to the first word", _SECONDS)

    def answered(self, answer: Answer) -> None:
        """Counts an answer."""
        outcome = "not_in_text" if answer.abstained else "answered"
        self.answers.labels(answer.decision.chosen, outcome).inc()
        usage = answer.usage
        read = {"prompt": usage.prompt_tokens, "cached": usage.cached_tokens, "completion": usage.completion_tokens}
        for kind, count in read.items():
            self.tokens.labels(kind).inc(count)
        if usage.ttft_s is not None:
            self.first.observe(usage.ttft_s)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"turnout_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"turnout_{name}", what, labels, buckets=buckets, registry=self.registry)

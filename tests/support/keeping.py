"""A fake engine that tells what it has read, as one with a prefix cache does."""

from __future__ import annotations

from typing import Any

from turnout.engines.fake import FakeEngine
from turnout.types import Context


class KeepingFake(FakeEngine):
    """Keeps the documents of every prompt, for each namespace."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, capabilities=frozenset({"prefix_cache"}), **options)
        self.kept: set[tuple[str | None, tuple[str, ...]]] = set()

    def resident(self, context: Context, namespace: str | None = None) -> int:
        texts = tuple(part.text for part in context.parts)
        return sum(map(self.count_text, texts)) if (namespace, texts) in self.kept else 0

    def forget(self) -> None:
        self.kept.clear()

    def generate(self, context: Context, params: Any, stopped: Any = None) -> Any:
        yield from super().generate(context, params, stopped)
        self.kept.add((params.cache_namespace, tuple(part.text for part in context.parts)))

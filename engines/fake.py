"""A deterministic engine for tests and examples: no model, no network, but the same contract."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from turnout.contracts import Stopper
from turnout.engines.decode import StopFilter
from turnout.engines.prompt import REFUSAL
from turnout.errors import EngineError, EngineTimeoutError, TurnoutError
from turnout.types import Context, EngineEvent, Finished, FinishReason, GenerationParams, ModelInfo, Prefilled, Token

TEMPLATE_TOKENS = 16
BYTES_PER_TOKEN = 1024
WEIGHT_BYTES = 1 << 20

_TOKEN = re.compile(r"\s*(?:\w{1,6}|[^\w\s])|\s+")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_WORD = re.compile(r"\w+")

Answers = Mapping[str, str] | Sequence[str] | Callable[[Context], str] | None


class FakeEngine:
    """Answers from a script, or with the sentence that shares most words with the question.

    A token is a run of at most six word characters, or one other character, with the space before it.

    Args:
        answers: by question; or a list, one a call, the last one repeated; or a function of the context.
        window: tokens of prompt and answer together.
        capabilities: what else the engine claims to do; with "prefix_cache" it counts document tokens that an
            earlier request of the same namespace began with.
        token_s: seconds that each answer token takes; `chunk_s` that each chunk of 512 prompt tokens takes.
        failure: raised by `generate` after the prompt was read.
    """

    count_is_exact = True

    def __init__(
        self,
        answers: Answers = None,
        window: int = 8192,
        capabilities: frozenset[str] = frozenset(),
        *,
        token_s: float = 0.0,
        chunk_s: float = 0.0,
        failure: TurnoutError | None = None,
        name: str = "fake",
    ) -> None:
        self.capabilities = capabilities
        self.contexts: list[Context] = []
        self.params: list[GenerationParams] = []
        self.is_open = False
        self.free_memory: int | None = None
        self._answers = answers
        self._window = window
        self._token_s = token_s
        self._chunk_s = chunk_s
        self._failure = failure
        self._name = name
        self._read: dict[str, list[list[str]]] = {}

    @property
    def model(self) -> ModelInfo:
        return ModelInfo(name=self._name, window=self._window, fingerprint=f"fake-{self._name}-{self._window}")

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def count(self, context: Context) -> int:
        texts = [part.text for part in context.parts] + [turn.text for turn in context.history] + [context.question]
        return TEMPLATE_TOKENS + sum(self.count_text(text) for text in texts)

    def count_text(self, text: str) -> int:
        return len(_TOKEN.findall(text))

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int:
        return WEIGHT_BYTES + (prompt_tokens + new_tokens) * BYTES_PER_TOKEN

    def free_memory_bytes(self) -> int | None:
        return self.free_memory

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Records the context and its parameters, then streams the answer token by token."""
        begin = time.perf_counter()
        gave_up = stopped or (lambda: False)
        prompt_tokens = self.count(context)
        if prompt_tokens + params.max_tokens > self._window:
            raise EngineError(
                f"{prompt_tokens:,} prompt tokens and {params.max_tokens:,} new ones are over the window of "
                f"{self._window:,}",
                hint="give fewer documents or use another strategy",
            )
        self.contexts.append(context)
        self.params.append(params)
        cached_tokens = self._cached(context, params.cache_namespace) if "prefix_cache" in self.capabilities else 0
        for done in [*range(512, prompt_tokens, 512), prompt_tokens]:
            time.sleep(self._chunk_s)
            if gave_up():
                yield Finished("cancelled", prompt_tokens, 0)
                return
            yield Prefilled(done, prompt_tokens)
        if self._failure is not None:
            raise self._failure
        first_token_s, made = None, 0
        reason: FinishReason = "stop"
        stops = StopFilter(params.stop)
        for text in _TOKEN.findall(self._answer(context)):
            time.sleep(self._token_s)
            if gave_up() or made == params.max_tokens:
                reason = "cancelled" if gave_up() else "length"
                break
            if params.timeout_s is not None and time.perf_counter() - begin > params.timeout_s:
                if made:
                    reason = "timeout"
                    break
                raise EngineTimeoutError(f"the fake engine took longer than {params.timeout_s:g} s", hint="wait longer")
            made += 1
            first_token_s = first_token_s or time.perf_counter() - begin
            if shown := stops.push(text):
                yield Token(shown)
            if stops.stopped:
                break
        if reason != "cancelled" and (rest := stops.finish()):
            yield Token(rest)
        peak = self.memory_bytes(prompt_tokens, made)
        yield Finished(
            reason,
            prompt_tokens,
            made,
            cached_tokens=cached_tokens,
            first_token_s=first_token_s,
            peak_memory_bytes=peak,
        )

    def _cached(self, context: Context, namespace: str | None) -> int:
        """Tokens at the start of the documents that a request of the same namespace has read before."""
        tokens = [token for part in context.parts for token in _TOKEN.findall(part.text)]
        seen = self._read.setdefault(namespace or "", [])
        longest = max((_common_prefix(tokens, before) for before in seen), default=0)
        seen.append(tokens)
        return longest

    def _answer(self, context: Context) -> str:
        answers = self._answers
        if callable(answers):
            return answers(context)
        if isinstance(answers, Mapping):
            return answers.get(context.question, REFUSAL)
        if answers:
            return answers[min(len(self.contexts), len(answers)) - 1]
        return _most_alike(context)


def _common_prefix(first: list[str], second: list[str]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _most_alike(context: Context) -> str:
    wanted = {word.lower() for word in _WORD.findall(context.question)}
    sentences = [sentence.strip() for part in context.parts for sentence in _SENTENCE.findall(part.text)]
    shared = [len(wanted & {word.lower() for word in _WORD.findall(sentence)}) for sentence in sentences]
    return sentences[shared.index(max(shared))] if any(shared) else REFUSAL

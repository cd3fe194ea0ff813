"""The five families, one required method each. A new member is a new file and one registry line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from turnout.types import Budget, Candidate, Context, EngineEvent, GenerationParams, ModelInfo, Passage, Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turnout.engines.prompt import PromptFormat
    from turnout.retrieval.corpus import Corpus
    from turnout.retrieval.search_signals import SearchSignals
    from turnout.router.profile import ModelProfile
    from turnout.router.signals import Signals

Stopper = Callable[[], bool]
"""Asked between steps of long work: True means that the caller gave up."""


@runtime_checkable
class Engine(Protocol):
    """Runs a model. An engine belongs to one thread at a time; the facade serialises calls."""

    capabilities: frozenset[str]

    @property
    def model(self) -> ModelInfo: ...

    def open(self) -> None:
        """Loads what generation needs; safe to call twice. Counting tokens works before."""

    def close(self) -> None: ...

    def count(self, context: Context) -> int:
        """Prompt tokens of a context, template included: exact for local engines, see `count_is_exact`."""

    def count_text(self, text: str) -> int:
        """Tokens of a document text alone."""

    @property
    def count_is_exact(self) -> bool: ...

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        """Predicted peak memory of a request, weights included; None where it is not this machine's memory."""

    def free_memory_bytes(self) -> int | None:
        """Memory that weights and a request can have together; None where it is not this machine's memory."""

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events; the last is `Finished`. A context over the window raises EngineError, nothing is cut."""


@runtime_checkable
class AsksInWords(Protocol):
    """An engine whose wording is known."""

    @property
    def prompt_format(self) -> PromptFormat: ...


@runtime_checkable
class ReadsOnce(Protocol):
    """What an engine may do besides: read once what several contexts begin with."""

    def answer_all(self, contexts: Sequence[Context], params: GenerationParams) -> list[str]:
        """The answers, as `generate` gives them one by one."""


@runtime_checkable
class Remembers(Protocol):
    """What an engine may do besides: keep what it has read."""

    def resident(self, context: Context, namespace: str | None = None) -> int:
        """Prompt tokens at the beginning of a context that `generate` would not read again."""

    def forget(self) -> None:
        """Erases what was read from the memory of this process."""


class ChatModel(Protocol):
    """The part of LangChain's BaseChatModel that is used; the library itself need not be imported."""

    @property
    def profile(self) -> Mapping[str, Any] | None:
        """What is known of the model, its window as `max_input_tokens`."""

    def stream(self, input: Any, **options: Any) -> Iterator[Any]:
        """Messages in, chunks of the answer out."""


class Embedder(Protocol):
    """Turns text into unit vectors. `fingerprint` is part of every cache key."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """[len(texts), dimension], rows of length 1. `progress` is called with the number of texts just done."""


class Retriever(Protocol):
    """Picks passages for a question."""

    name: str

    def warm(self, corpus: Corpus) -> None:
        """Loads and indexes what searching this corpus needs; nothing the second time."""

    def retrieve(self, question: str, corpus: Corpus, limit: int) -> list[Passage]:
        """At most `limit` passages, best first. Callers restore document order before prompting."""


@runtime_checkable
class Looks(Protocol):
    """What a retriever may do besides: tell how well the documents match a question before anything is read."""

    def warm(self, corpus: Corpus) -> None:
        """As `Retriever.warm`; after it `look` is quick."""

    def look(self, question: str, corpus: Corpus) -> SearchSignals | None:
        """None where looking would first have to load, to index or to embed documents."""


class Strategy(Protocol):
    """A way to use the documents."""

    name: str

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Predicts quality, seconds, tokens and bytes from signals alone; runs nothing. A strategy that can be made
        smaller sizes itself to the budget."""

    def warm(self, corpus: Corpus) -> None:
        """Loads and indexes what `prepare` needs. Its time is load and index time, never time to answer."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget) -> Context:
        """Builds what the engine will read."""

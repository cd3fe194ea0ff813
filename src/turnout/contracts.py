"""The five families, one required method each. A new member is a new file and one registry line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from turnout.documents import Passage, SegmentKey
from turnout.types import (
    Budget,
    CacheStatistics,
    Candidate,
    Context,
    EngineEvent,
    GenerationParams,
    Message,
    ModelInfo,
    Part,
    Question,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turnout.compression.selection import PassageScores, Target
    from turnout.engines.in_flight import Load
    from turnout.engines.locating import Stretch
    from turnout.engines.parallel.kind import ParallelKind
    from turnout.engines.prompt import PromptFormat
    from turnout.engines.soft.kind import SoftKind
    from turnout.engines.speculative.plan import Counts
    from turnout.progress import Watch
    from turnout.retrieval.corpus import Corpus
    from turnout.retrieval.search_signals import SearchSignals
    from turnout.router.profile import ModelProfile
    from turnout.router.signals import Signals

Stopper = Callable[[], bool]
"""Asked between steps of long work: True means that the caller gave up."""


@runtime_checkable
class Engine(Protocol):
    """Runs a model. One with the capability "concurrent" may be asked by several threads; any other belongs to one
    thread at a time, and the facade serialises calls."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What else it does: "prefix_cache", "concurrent", "choices" (see `GenerationParams`)."""

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
class Weighs(Protocol):
    """What an engine may do besides: say which of given answers it would give."""

    @property
    def model(self) -> ModelInfo: ...

    def weigh(
        self, text: str, questions: Sequence[str], answers: Sequence[str], watch: Watch | None = None
    ) -> list[list[float]]:
        """[questions][answers]: shares of 1, by the model's next token. The text is read once."""


@runtime_checkable
class Surprises(Protocol):
    """What an engine may do besides: say how unlikely a text is to its model, as the mean negative natural logarithm
    of the probability of a token (nats a token; 0 of no token)."""

    @property
    def model(self) -> ModelInfo: ...

    def surprise(self, texts: Sequence[str], continuation: str, watch: Watch | None = None) -> list[float]:
        """[texts]: of the same continuation after each text, and without any after ""."""

    def line_surprises(self, text: str, lines: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[float]:
        """[lines]: of each line, characters [start, end) of one text in order, after all that stands before it."""


@runtime_checkable
class Foretells(Protocol):
    """What an engine may do besides: say how likely it is to give an answer, as the mean natural logarithm of the
    probability of a token."""

    @property
    def model(self) -> ModelInfo: ...

    def likelihood(self, contexts: Sequence[Context], answer: str, watch: Watch | None = None) -> list[float]:
        """[contexts]: of the same answer to each, as `generate` would read it."""


@runtime_checkable
class Attends(Protocol):
    """What an engine may do besides: show what a question's tokens look at."""

    @property
    def model(self) -> ModelInfo: ...

    def open(self) -> None: ...

    def count_text(self, text: str) -> int: ...

    def attend(
        self, texts: Sequence[str], question: str, layer: int | None = None, watch: Watch | None = None
    ) -> list[list[float]]:
        """[texts][tokens]: the question's attention to each token of the texts, in a layer, from 0; by default the one
        in the middle."""


@runtime_checkable
class Locates(Protocol):
    """What an engine may do besides: point at the sentences that it would answer a question with."""

    @property
    def model(self) -> ModelInfo: ...

    def open(self) -> None: ...

    def count_text(self, text: str) -> int: ...

    def locate(
        self,
        sentences: Sequence[str],
        question: str,
        limit: int,
        longest: int,
        namespace: str | None = None,
        watch: Watch | None = None,
    ) -> list[Stretch]:
        """At most `limit` stretches of a text that is given in sentences, likeliest first, each of one sentence or of
        several with at most `longest` tokens. What is read of the text is kept for requests of the same namespace."""


@runtime_checkable
class RanksTokens(Protocol):
    """What an engine may do besides: show which tokens of a text it looks at where it begins to answer."""

    @property
    def model(self) -> ModelInfo: ...

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and the characters [start, end) of each."""

    def importance(self, ids: Sequence[int], question: str, watch: Watch | None = None) -> list[float]:
        """[ids], 0 to 1; 0 of what is no part of a word."""


@runtime_checkable
class Drafts(Protocol):
    """What an engine may do besides: propose tokens of an answer, and verify several of them in one step."""

    def can_draft(self) -> bool:
        """Whether the answer to a `turnout.engines.speculative.plan.DraftedContext` is drafted by its passages."""

    def drafted(self) -> Counts:
        """What was proposed for the last answer of `generate`, in whatever way, and what of it was accepted."""


@runtime_checkable
class Doubts(Protocol):
    """What an engine may do besides: tell how near it was to saying that the text does not hold the answer."""

    def doubt(self) -> float | None:
        """The probability that the last answer of `generate` in this thread begins as the refusal does, by the model's
        own numbers after the prompt; None where they are not known."""


@runtime_checkable
class Softens(Protocol):
    """What an engine may do besides: make soft tokens of a text, and read them in its place (`SoftContext`)."""

    def open(self) -> None: ...

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and the characters [start, end) of each."""

    def soft_kind(self) -> SoftKind:
        """What they are."""

    def can_soften(self) -> bool:
        """Whether its model can read embeddings in a prompt."""

    def soften(self, pieces: Sequence[Sequence[int]], watch: Watch | None = None) -> list[bytes]:
        """The soft tokens of each piece of token ids, each made of the piece alone."""


@runtime_checkable
class ReadsParallel(Protocol):
    """What an engine may do besides: read segments of documents each by itself, give their keys and values away, and
    answer over them (`ParallelContext`)."""

    def open(self) -> None: ...

    def can_read_parallel(self) -> bool:
        """Whether its model can."""

    def parallel_kind(self, history: Sequence[Message] = ()) -> ParallelKind:
        """What keys and values are, for questions with such a history."""

    def read_parallel(
        self, texts: Sequence[str], history: Sequence[Message] = (), watch: Watch | None = None
    ) -> list[bytes]:
        """The keys and values of each text, each read without the others."""


@runtime_checkable
class Remembers(Protocol):
    """What an engine may do besides: keep what it has read."""

    def resident(self, context: Context, namespace: str | None = None) -> int:
        """Prompt tokens at the beginning of a context that `generate` would not read again."""

    def forget(self) -> None:
        """Erases what was read from the memory of this process."""


@runtime_checkable
class ReadsInPieces(Protocol):
    """What an engine may do besides: read a long context in pieces, each alone."""

    def piece_tokens(self, context: Context) -> int | None:
        """Tokens of text in a piece of contexts like this one, whatever their length; None where they are read
        whole."""


@runtime_checkable
class Expects(Protocol):
    """What an engine that `Remembers` does where what it has read lies elsewhere, so that `resident` is an expectation:
    it may be gone."""

    def surely_resident(self, context: Context, namespace: str | None = None) -> int:
        """As `Remembers.resident`, of what is there in nine of ten cases."""


@runtime_checkable
class TellsLoad(Protocol):
    """What an engine may do besides: say what it still has to do for other requests."""

    def in_flight(self) -> Load:
        """What waits and runs now, by this process's own count: no model call, no network."""


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


@runtime_checkable
class EmbedsQuestions(Protocol):
    """What an embedder may do besides: read a question otherwise than the texts that it is compared with."""

    def embed_question(self, question: str) -> NDArray[np.float32]:
        """[dimension], of length 1."""


@runtime_checkable
class EmbedsTogether(Protocol):
    """What an embedder may do besides: read pieces of one text together, each with what stands around it."""

    @property
    def together_tokens(self) -> int | None:
        """Tokens that it reads at once, about; None where it can't do it."""

    def embed_together(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Of each text, which is given in pieces without gaps, [pieces, dimension], rows of length 1."""


class Ranker(Protocol):
    """Says how well passages answer a question, by reading both together."""

    name: str

    def open(self) -> None:
        """Loads what scoring needs; nothing the second time."""

    def scores(self, question: str, texts: Sequence[str], watch: Watch | None = None) -> list[float]:
        """[texts], higher is better, comparable within one call. Between batches the watch may end it."""


class Retriever(Protocol):
    """Picks passages for a question."""

    name: str

    def warm(self, corpus: Corpus) -> None:
        """Loads and indexes what searching this corpus needs; nothing the second time."""

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages, best first. Callers restore document order before prompting. Where the model reads
        to search, the watch hears of it and may end it."""


@runtime_checkable
class Looks(Protocol):
    """What a retriever may do besides: tell how well the documents match a question before anything is read."""

    def warm(self, corpus: Corpus) -> None:
        """As `Retriever.warm`; after it `look` is quick."""

    def look(self, question: str, corpus: Corpus) -> SearchSignals | None:
        """None where looking would first have to load, to index or to embed documents."""


class UnitScorer(Protocol):
    """Says how much an answer wants each sentence, table or list of a passage. `fingerprint` is part of cache keys;
    `threshold` is the score, 0 to 1, from which one is worth keeping where nobody says otherwise."""

    name: str
    threshold: float

    @property
    def fingerprint(self) -> str: ...

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        """One for each passage, in order and as soon as it is known, each of the passage and the question alone, so
        that it can be cached. Between batches the watch is asked, which may raise Cancelled."""


class Compressor(Protocol):
    """Sends the model less of passages. `quotable` says that what is left stands in the source word for word."""

    name: str
    quotable: bool

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        """What is left, in order, each part with its own span; never more tokens than before, nothing at all where
        nothing answers. The watch may end it in the middle."""


class SegmentCache(Protocol):
    """Keeps what was computed of segments. Values are bytes; what can't be kept is not, and never an error."""

    def get(self, key: SegmentKey) -> bytes | None:
        """None where it is not here, or damaged."""

    def get_many(self, keys: Sequence[SegmentKey]) -> list[bytes | None]:
        """As `get`, in as few steps as there can be."""

    def has(self, keys: Sequence[SegmentKey]) -> list[bool]:
        """Whether values are here, without reading or counting them."""

    def put(self, key: SegmentKey, value: bytes) -> None: ...

    def put_many(self, values: Iterable[tuple[SegmentKey, bytes]]) -> None: ...

    def statistics(self) -> CacheStatistics: ...

    def kinds(self) -> Mapping[str, CacheStatistics]:
        """Statistics by what the values are, see `turnout.compression.sealed`."""

    def drop(self, segments: Collection[str]) -> None:
        """Removes every value of some segments, of whoever put it; and those whose keys are of other texts than
        segments (`turnout.compression.sealed.BY_SEGMENT`), which may be of them."""

    def clear(self) -> None:
        """Removes every value, of whoever put it."""


@runtime_checkable
class Claims(Protocol):
    """What a segment cache may do besides: let one of several processes compute a value while the others wait."""

    def claim(self, keys: Sequence[SegmentKey]) -> list[bytes | bool]:
        """For each key its value, where it is here by now; else True for the caller, who then computes it and either
        puts or releases it, and False where somebody else does."""

    def renew(self, keys: Sequence[SegmentKey]) -> None:
        """Tells that the caller still computes what it claimed: without that a claim ends by itself."""

    def release(self, keys: Sequence[SegmentKey]) -> None:
        """Gives up what the caller claimed and has not put."""


@runtime_checkable
class Fragments(Protocol):
    """What a strategy may do besides: cut inside sentences. Where it is not `quotable`, citations are widened to the
    sentences of the source."""

    @property
    def quotable(self) -> bool: ...


@runtime_checkable
class PreparesOnce(Protocol):
    """What a strategy may do besides: make something of the documents that serves every later question."""

    name: str

    def missing(self, corpus: Corpus) -> float | None:
        """The share of the documents of which that is still to be made; None where it is not known. Quick."""


class Strategy(Protocol):
    """A way to use the documents."""

    name: str

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Predicts quality, seconds, tokens and bytes from signals alone; runs nothing. A strategy that can be made
        smaller sizes itself to the budget."""

    def warm(self, corpus: Corpus) -> None:
        """Loads and indexes what `prepare` needs. Its time is load and index time, never time to answer."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """Builds what the engine will read. Where that is long work, the watch hears of it and may end it."""

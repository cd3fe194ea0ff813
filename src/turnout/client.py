"""The facade: `Turnout` holds what stays open between questions and hands each question to the pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from turnout.asking import Decoding, Excerpt
from turnout.awaited import Awaited
from turnout.checks import History, check_decoding, messages
from turnout.config import Settings, is_url
from turnout.documents import Document, Text
from turnout.errors import BudgetError, Cancelled, ConfigurationError, ModelError, UnknownNameError
from turnout.in_thread import in_thread
from turnout.inputs import Input
from turnout.logbook import Logbook
from turnout.progress import Progress, Watch, silent
from turnout.shelf import Shelf
from turnout.turn import Turn
from turnout.types import Answer, Budget, Decision, Done, ModelInfo, Reading, StreamEvent, TextDelta

if TYPE_CHECKING:
    from turnout.contracts import ChatModel, Embedder, Engine
    from turnout.parts import Parts
    from turnout.router.request import Request

_OF_OUR_ENGINES = (
    "model_name", "adapter", "api_key", "kv_disk_mb", "yarn", "int8", "attention", "soft", "server_window",
    "server_takes", "server_timeout_s", "server_retries", "cache_namespace",
)  # fmt: skip


class Turnout(Awaited, Shelf, Logbook):
    """Answers questions over documents, and says how, why and where it stands in the source.

    Args:
        model: packaged name, folder, Hugging Face id, the base URL of an OpenAI-compatible server, or a chat model of
            LangChain.
        model_name: which model of the server; its first one by default.
        adapter: folder of an adapter for a local model, or "none"; the one that comes with the model by default.
        home: data directory (TURNOUT_HOME).
        log: "off", "decisions" or "full": how much the ledger keeps.
        device: "cpu" or "cuda"; the best one by default.
        kv_disk_mb: most megabytes of keys and values of read prompts that a local model keeps on disk; none by default.
        yarn: how many times its window a local model shall read; 1 by default.
        int8: whether a local model writes with weights in int8; where that is faster by default.
        prices: file with prices of tokens (docs/configuration.md); costs are seconds of this machine by default.
        passage_tokens: most tokens of the passages that `rag` reads; 1000 by default.
        attention: how a local model reads prompts (docs/attention.md): "auto", "dense", or the file of a calibration.
        soft: what makes soft tokens (docs/soft.md): "mean:2" by default, or a folder of trained weights.
        ldar: folder of a policy for `rag:ldar` (docs/models.md); none by default.
        late_chunking: segments are embedded with what stands around them (docs/documents.md); off by default.
        reranker: folder of a cross-encoder or pruner that puts the passages of a search in order; none by default.
        sat: folder of a SaT model, which says where the sentences of `extract` end; rules do by default.
        cache_url: Redis server that keeps what was computed of segments; the data directory by default.
        server_window: tokens of prompt and answer of a server's model; what the server says by default.
        server_takes: what a server takes beside OpenAI's fields: "cache_salt", "choices" (docs/scale.md).
        server_timeout_s: seconds that a server may say nothing; 600 by default.
        server_retries: how often a request to a server is sent again before the answer begins; 2 by default.
        cache_namespace: prompts find again only what was read under the same name; `Decoding` has one for a question.
        share_collections: new collections share what is computed of equal texts, instead of being kept apart.
        engine: an engine of your own instead of `model`.
        embedder: an embedder of your own instead of the default one.
        progress: called with (stage, done, total) during long work.

    The constructor stores arguments; `open` is implicit at first use.
    """

    def __init__(
        self,
        model: str | ChatModel | None = None,
        model_name: str | None = None,
        *,
        adapter: str | os.PathLike[str] | None = None,
        home: str | os.PathLike[str] | None = None,
        log: str | None = None,
        api_key: str | None = None,
        device: str | None = None,
        max_file_mb: float | None = None,
        kv_disk_mb: float | None = None,
        yarn: float | None = None,
        int8: bool | None = None,
        prices: str | os.PathLike[str] | None = None,
        passage_tokens: int | None = None,
        attention: str | os.PathLike[str] | None = None,
        soft: str | os.PathLike[str] | None = None,
        ldar: str | os.PathLike[str] | None = None,
        late_chunking: bool | None = None,
        reranker: str | os.PathLike[str] | None = None,
        sat: str | os.PathLike[str] | None = None,
        cache_url: str | None = None,
        server_window: int | None = None,
        server_takes: str | Collection[str] | None = None,
        server_timeout_s: float | None = None,
        server_retries: int | None = None,
        cache_namespace: str | None = None,
        share_collections: bool | None = None,
        engine: Engine | None = None,
        embedder: Embedder | None = None,
        progress: Progress = silent,
    ) -> None:
        self._options: dict[str, Any] = {
            "home": home, "model": model if isinstance(model, str) else None, "model_name": model_name,
            "adapter": adapter, "log": log, "api_key": api_key, "device": device, "max_file_mb": max_file_mb,
            "kv_disk_mb": kv_disk_mb, "yarn": yarn, "int8": int8, "prices": prices, "passage_tokens": passage_tokens,
            "attention": attention, "soft": soft, "ldar": ldar, "late_chunking": late_chunking, "reranker": reranker,
            "sat": sat, "cache_url": cache_url, "server_window": server_window, "server_takes": server_takes,
            "server_timeout_s": server_timeout_s, "server_retries": server_retries, "cache_namespace": cache_namespace,
            "share_collections": share_collections,
        }  # fmt: skip
        self._chat_model = None if isinstance(model, str) else model
        self._engine = engine
        self._embedder = embedder
        self._progress = progress
        self._parts: Parts | None = None
        self._opening = threading.Lock()
        self._turn = Turn()

    # --- life cycle --------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Connects to the library and finds the model; its weights are loaded by the first question."""
        self._opened()
        return self

    def close(self) -> None:
        """Stops an answer that is running, then frees the model and the database connections.

        The object can be used again; it opens anew.
        """
        with self._turn.closing(), self._opening:
            if self._parts is not None:
                self._parts.close()
                self._parts = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.open)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _opened(self) -> Parts:
        with self._opening:
            if self._parts is None:
                from turnout.parts import Parts

                settings = Settings.load(**self._options)
                self._parts = Parts(settings, self._own_engine(), self._embedder, self._progress)
            return self._parts

    def _in_turn(
        self, stopped: Callable[[], bool] | None = None
    ) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        return self._turn.taken(stopped)

    def _own_engine(self) -> Engine | None:
        """The engine that the caller gave, itself or as a chat model."""
        if self._chat_model is None or self._engine is not None:
            return self._engine
        from turnout.engines.chat_model import ChatModelEngine

        # The device is also that of the default embedder.
        ours = (*_OF_OUR_ENGINES, "device") if self._embedder is not None else _OF_OUR_ENGINES
        if ignored := [name for name in ours if self._options[name] is not None]:
            raise ConfigurationError(
                f"{', '.join(ignored)} would change nothing of a chat model of LangChain",
                hint="give it to the chat model itself",
            )

        return ChatModelEngine(self._chat_model)

    @property
    def model(self) -> ModelInfo:
        """Which model answers. Reads its files, or asks its server, at first use; loads no weights."""
        return self._opened().engine.model

    @property
    def label(self) -> str:
        """What the model is called, as the caller or the environment has it; opens nothing."""
        engine = self._own_engine()
        if engine is not None:
            return engine.model.name
        settings = Settings.load(**self._options)
        return settings.model_name or settings.model

    @property
    def window(self) -> int | None:
        """Tokens of prompt and answer together, None where only a server could tell or the model is not here. Of a
        local model its configuration is read, and nothing else."""
        engine = self._own_engine()
        if engine is not None:
            return engine.model.window
        from turnout.engines import window_of

        try:
            return window_of(Settings.load(**self._options))
        except ModelError:
            return None

    def count_tokens(self, text: str) -> int:
        """Tokens of a text in the model's tokenizer, estimated where a server has none; loads no weights."""
        return self._opened().engine.count_text(text)

    def with_model(self, model: str, model_name: str | None = None, *, api_key: str | None = None) -> Turnout:
        """Another one over the same library that asks another model: one of the same server by its name, where this one
        asks a server, or any other as in the constructor. Both are to be closed.

        Args:
            api_key: for another server. What this one and the environment know goes to this one's server alone, as
                `server_takes` does, and an adapter, `soft`, `ldar`, `model_name` and `server_window` with this one's
                model.
        """
        settings = Settings.load(**self._options)
        own = settings.model if self._own_engine() is None and settings.is_remote else None
        if own is not None and not is_url(model):
            model, model_name = own, model
        key = self._options["api_key"] if model == own and api_key is None else api_key or ""
        takes = self._options["server_takes"] if model == own else ()
        other = {"model": model, "model_name": model_name or "", "adapter": "", "soft": "", "ldar": "", "api_key": key}
        other |= {"server_window": None, "server_takes": takes}
        return Turnout(**{**self._options, **other}, embedder=self._embedder, progress=self._progress)

    # --- questions ---------------------------------------------------------------------------------------------------

    def plan(  # type: ignore[override]  # its options by name
        self,
        question: str,
        documents: Input | Iterable[Input] | None = None,
        *,
        collection: str | None = None,
        budget: Budget | None = None,
        strategy: str | None = None,
        history: History = (),
        instructions: str = "",
        decoding: Decoding | None = None,
    ) -> Decision:
        """The decision for a question without answering it: candidates, estimates, limits, reasons."""
        from turnout.router.deciding import plan

        self._check(question, budget, strategy, decoding)
        read = self.read(documents, collection)
        with self._turn.taken():
            request = self._request(question, read, collection, budget, strategy, history, instructions, decoding)
            return plan(request, self._opened().machinery(collection or ""))

    def stream(  # type: ignore[override]  # its options by name
        self,
        question: str,
        documents: Input | Iterable[Input] | None = None,
        *,
        collection: str | None = None,
        budget: Budget | None = None,
        strategy: str | None = None,
        history: History = (),
        instructions: str = "",
        decoding: Decoding | None = None,
        steady: bool = False,
        stopped: Callable[[], bool] | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Answers with events: `Decided`, `Reading`, `TextDelta`, perhaps `Retracted`, and `Done` last.

        Other questions wait until the iterator is read to its end or closed; where the engine answers several at once,
        until this one's answer is begun.

        Args:
            documents: documents, paths or texts; never the whole library by accident.
            collection: ask over this instead, or over documents as of it: none of others is found, and neither what was
                read for them is found again nor theirs learned from (docs/collections.md).
            instructions: what you want of every answer: a language, a form, a role.
            decoding: how the answer is written: length, temperature, stop strings, seed, time.
            steady: text is held back until it is sure to stay, so that nothing is ever `Retracted`; short answers then
                come as a whole.
            stopped: asked between steps and tokens; True gives up with `Cancelled`.
        """
        from turnout.router.clock import Clock
        from turnout.router.pipeline import answer

        clock = Clock()
        self._check(question, budget, strategy, decoding)
        if stopped is not None and stopped():
            raise Cancelled("given up before anything was read")
        self._opened().preload()
        with clock.aside("index"):
            read = self.read(documents, collection)
        with contextlib.ExitStack() as stack:
            with clock.step("wait"):
                gave_up = stack.enter_context(self._turn.taken(stopped, _soonest(budget)))
            with clock.aside("index"):
                request = self._request(
                    question, read, collection, budget, strategy, history, instructions, decoding, steady
                )
            request = dataclasses.replace(request, waited_s=round(clock.step_seconds("wait"), 2))
            with clock.aside("load"):
                machinery = self._opened().machinery(collection or "")
            is_shared = "concurrent" in machinery.engine.capabilities
            events = stack.enter_context(contextlib.closing(answer(request, machinery, clock, gave_up)))
            for event in events:
                # What is prepared is prepared in turn: strategies and indexes are not made for several at once.
                if is_shared and isinstance(event, Reading | TextDelta):
                    gave_up.let_go()
                yield event

    def ask(
        self,
        question: str,
        documents: Input | Iterable[Input] | None = None,
        *,
        collection: str | None = None,
        budget: Budget | None = None,
        strategy: str | None = None,
        history: History = (),
        instructions: str = "",
        decoding: Decoding | None = None,
    ) -> Answer:
        """Answers a question over documents; see `stream` for the arguments.

        Raises:
            BudgetError: no strategy is inside the limits; nothing was generated.
            DocumentError: a document can't be read.
            EngineError: generation failed.
        """
        return _last(
            self.stream(
                question,
                documents,
                collection=collection,
                budget=budget,
                strategy=strategy,
                history=history,
                instructions=instructions,
                decoding=decoding,
            )
        )

    def ask_many(
        self,
        questions: Iterable[str],
        documents: Input | Iterable[Input] | None = None,
        *,
        collection: str | None = None,
        budget: Budget | None = None,
    ) -> Iterator[Answer]:
        """Answers questions one after the other, lazily. `max_total_s` is for all of them together."""
        read = self.read(documents, collection)
        started, limit = time.monotonic(), budget.max_total_s if budget else None
        for question in questions:
            each = budget
            if budget is not None and limit is not None:
                left = limit - (time.monotonic() - started)
                if left <= 0:
                    raise BudgetError(
                        f"max_total_s of {limit:g} s is used up before {question!r}",
                        hint="ask the rest with a new budget",
                    )
                each = dataclasses.replace(budget, max_total_s=left)
            yield self.ask(question, read, collection=collection, budget=each)

    # --- texts that others have found --------------------------------------------------------------------------------

    def compress(
        self,
        question: str,
        texts: Sequence[str | Text],
        *,
        strategy: str = "extract",
        threshold: float | None = None,
        max_tokens: int | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> list[tuple[Excerpt, ...]]:
        """What a question wants of each text, word for word; nothing of a text that it wants nothing of.

        Args:
            texts: a `Text` has a title, whose suffix tells the language of source code.
            strategy: "extract", or what asks the model: "extract:exit", "extract:code", and "extract:draft", which cuts
                inside sentences (docs/compression.md).
            threshold: score, 0 to 1, from which a sentence is kept; the scorer's own by default.
            max_tokens: most that is kept of all texts together, the best first, in the model's tokens (estimated where
                it is not here); no limit by default.
            stopped: asked between batches; True gives up with `Cancelled`. What was scored until then is kept.

        Raises:
            ConfigurationError: an option can't be meant, or the model can't do it.
            Cancelled: `stopped` said so.
        """
        from turnout.excerpts import asks_model, excerpts

        with contextlib.ExitStack() as stack:
            if asks_model(strategy):
                stopped = stack.enter_context(self._in_turn(stopped))
            watch = Watch(stopped, self._progress)
            return excerpts(self._opened(), question, texts, strategy, threshold, max_tokens, watch)

    async def acompress(self, question: str, texts: Sequence[str | Text], **options: Any) -> list[tuple[Excerpt, ...]]:
        """`compress` without blocking the event loop; cancelling the task ends the work after its batch."""
        return await in_thread(lambda stopped: self.compress(question, texts, stopped=stopped, **options))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _check(
        self, question: str, budget: Budget | None, strategy: str | None, decoding: Decoding | None = None
    ) -> None:
        """Refuses what can't be meant before any document is read."""
        from turnout.router import policy, strategies

        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask something about the documents")
        policy.check(budget or Budget())
        known = [entry.name for entry in strategies.STRATEGIES]
        if strategy is not None and strategy not in known:
            raise UnknownNameError("strategy", strategy, known)
        check_decoding(decoding or Decoding())
        _ = self._opened().prices

    def _request(
        self,
        question: str,
        documents: list[Document],
        collection: str | None,
        budget: Budget | None,
        strategy: str | None,
        history: History,
        instructions: str = "",
        decoding: Decoding | None = None,
        steady: bool = False,
    ) -> Request:
        from turnout.router.questions import read
        from turnout.router.request import Request

        parts, decoding = self._opened(), decoding or Decoding()
        return Request(
            question=read(question, messages(history), parts.engine.count_text, instructions, decoding.max_tokens),
            corpus=parts.corpus(documents, collection),
            document_tokens=sum(parts.tokens(document) for document in documents),
            budget=budget or Budget(),
            strategy=strategy,
            cache_namespace=parts.namespace(documents, decoding.cache_namespace),
            collection=collection or "",
            decoding=decoding,
            steady=steady,
        )


def _soonest(budget: Budget | None) -> float | None:
    """Seconds after which no answer can be inside the budget any more."""
    limits = (budget.max_ttft_s, budget.max_total_s) if budget else ()
    return min((limit for limit in limits if limit is not None), default=None)


def _last(events: Iterable[StreamEvent]) -> Answer:
    for event in events:
        if isinstance(event, Done):
            return event.answer
    raise Cancelled("the stream ended without an answer")

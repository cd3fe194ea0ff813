"""The facade: `Turnout` holds what stays open between questions and hands each question to the pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from turnout.asking import Decoding
from turnout.awaiting import Awaits
from turnout.background import Background
from turnout.checks import History, check_decoding, messages
from turnout.config import Escalate, Settings, is_url
from turnout.documents import Document
from turnout.errors import Cancelled, ConfigurationError, ModelError, UnknownNameError
from turnout.excerpting import Excerpting
from turnout.inputs import Input
from turnout.logbook import Logbook
from turnout.many import Asks
from turnout.measuring import Measures
from turnout.progress import Progress, silent
from turnout.shelf import Shelf
from turnout.turn import Turn
from turnout.types import Answer, Budget, Decided, Decision, Done, ModelInfo, Reading, StreamEvent, TextDelta

if TYPE_CHECKING:
    from turnout.contracts import ChatModel, Embedder, Engine
    from turnout.parts import Parts
    from turnout.router.request import Request

_OF_OUR_ENGINES = (
    "model_name", "adapter", "api_key", "kv_disk_mb", "yarn", "int8", "attention", "soft", "chunkfree",
    "server_window", "server_takes", "server_timeout_s", "server_retries", "cache_namespace",
)  # fmt: skip


class Turnout(Shelf, Excerpting, Logbook, Asks, Awaits, Measures):
    """Answers questions over documents, and says how, why and where it stands in the source.

    Args:
        model: packaged name, folder, Hugging Face id, URL of an OpenAI-compatible server, or a chat model of LangChain.
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
        chunkfree: folder of an adapter for `rag:chunkfree` (docs/models.md); the model as it is by default.
        late_chunking: segments are embedded with what stands around them (docs/documents.md); off by default.
        reranker: folder of a cross-encoder or pruner that puts the passages of a search in order; none by default.
        sat: folder of a SaT model, which says where the sentences of `extract` end; rules do by default.
        cite: what finds a sentence for an answer without a quote (docs/answer.md): "words" by default, or "attention".
        cache_url: Redis server that keeps what was computed of segments; the data directory by default.
        server_window: tokens of prompt and answer of a server's model; what the server says by default.
        server_takes: what a server takes beside OpenAI's fields: "cache_salt", "choices" (docs/scale.md).
        server_timeout_s: seconds that a server may say nothing; 600 by default.
        server_retries: how often a request to a server is sent again before the answer begins; 2 by default.
        cache_namespace: prompts find again only what was read under the same name; `Decoding` has one for a question.
        shadow: the strategy that you run now: it answers, and the router decides on paper (docs/decision.md).
        regret: share of questions, 0 by default, that the strategies which were not chosen answer too, when nothing is
            asked; in a day at most `regret_max_s` seconds, 600 by default, and `regret_max_cost`.
        lasting: False where this process ends with its next answer, so that what a local model reads in it serves none
            to come.
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
        chunkfree: str | os.PathLike[str] | None = None,
        late_chunking: bool | None = None,
        reranker: str | os.PathLike[str] | None = None,
        sat: str | os.PathLike[str] | None = None,
        cite: str | None = None,
        cache_url: str | None = None,
        server_window: int | None = None,
        server_takes: str | Collection[str] | None = None,
        server_timeout_s: float | None = None,
        server_retries: int | None = None,
        cache_namespace: str | None = None,
        shadow: str | None = None,
        regret: float | None = None,
        regret_max_s: float | None = None,
        regret_max_cost: float | None = None,
        share_collections: bool | None = None,
        lasting: bool = True,
        engine: Engine | None = None,
        embedder: Embedder | None = None,
        progress: Progress = silent,
    ) -> None:
        self._options: dict[str, Any] = {
            "home": home, "model": model if isinstance(model, str) else None, "model_name": model_name,
            "adapter": adapter, "log": log, "api_key": api_key, "device": device, "max_file_mb": max_file_mb,
            "kv_disk_mb": kv_disk_mb, "yarn": yarn, "int8": int8, "prices": prices, "passage_tokens": passage_tokens,
            "attention": attention, "soft": soft, "ldar": ldar, "chunkfree": chunkfree, "late_chunking": late_chunking,
            "reranker": reranker, "sat": sat, "cite": cite, "cache_url": cache_url, "server_window": server_window,
            "server_takes": server_takes, "server_timeout_s": server_timeout_s, "server_retries": server_retries,
            "cache_namespace": cache_namespace, "shadow": shadow, "regret": regret, "regret_max_s": regret_max_s,
            "regret_max_cost": regret_max_cost, "share_collections": share_collections,
        }  # fmt: skip
        self._chat_model = None if isinstance(model, str) else model
        self._engine = engine
        self._embedder = embedder
        self._progress = progress
        self._parts: Parts | None = None
        self._opening = threading.Lock()
        self._turn = Turn()
        self._lasting = lasting
        self._background = Background(self._turn)

    # --- life cycle --------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Connects to the library and finds the model; its weights are loaded by the first question."""
        self._opened()
        return self

    def close(self) -> None:
        """Stops an answer that is running, then frees the model and the database connections.

        The object can be used again; it opens anew.
        """
        with self._turn.closing():
            self._background.close()  # while nothing more can be offered, and before what it works with is gone
            with self._opening:
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
                self._parts = Parts(settings, self._own_engine(), self._embedder, self._tell)
                self._parts.lasting = self._lasting
            return self._parts

    def _in_turn(
        self, stopped: Callable[[], bool] | None = None
    ) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        return self._turn.taken(stopped)

    def _tell(self, stage: str, done: int, total: int) -> None:
        """Long work tells how far it is, and makes way where it is done for nobody."""
        self._turn.make_way()
        self._progress(stage, done, total)

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
                `server_takes` does, and adapters, `soft`, `ldar`, `model_name` and `server_window` with its model.
        """
        settings = Settings.load(**self._options)
        own = settings.model if self._own_engine() is None and settings.is_remote else None
        if own is not None and not is_url(model):
            model, model_name = own, model
        key = self._options["api_key"] if model == own and api_key is None else api_key or ""
        takes = self._options["server_takes"] if model == own else ()
        other = {"model": model, "model_name": model_name or "", "api_key": key, "server_window": None}
        other |= {"server_takes": takes, **dict.fromkeys(("adapter", "soft", "ldar", "chunkfree"), "")}
        other |= {"lasting": self._lasting}
        return Turnout(**{**self._options, **other}, embedder=self._embedder, progress=self._progress)

    # --- questions ---------------------------------------------------------------------------------------------------

    def plan(
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
        expected_questions: int | None = None,
    ) -> Decision:
        """The decision for a question without answering it: candidates, estimates, limits, reasons. See `stream` for
        the arguments."""
        from turnout.router.deciding import plan

        self._check(question, budget, strategy, decoding, expected_questions)
        read = self.read(documents, collection)
        with self._turn.taken():
            request = self._request(question, read, collection, budget, strategy, history, instructions, decoding)
            request = dataclasses.replace(request, expected_questions=expected_questions)
            return plan(request, self._opened().machinery(collection or ""))

    def stream(
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
        expected_questions: int | None = None,
        left_s: float | None = None,
        steady: bool = False,
        escalate: Escalate | None = None,
        max_regret: float | None = None,
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
            expected_questions: how many are to come over these documents, this one included: what is dear once and
                cheap afterwards is compared by the mean. By default as many again as were asked of late.
            left_s: seconds that all of them may take together; no such limit by default.
            steady: text is held back until it is sure to stay, so that nothing is ever `Retracted`; short answers then
                come as a whole.
            escalate: when another strategy is asked where the text does not bear an answer (docs/escalation.md): "off";
                "before_text", whose text is held back until its evidence is checked; or "always", which `Retracted`
                tells of. TURNOUT_ESCALATE by default, and else "before_text" where a calibration found that it gains.
                What is asked so is another `Decided`.
            max_regret: the score that keeping an outcome may cost on average, by a calibration of support.
            stopped: asked between steps and tokens; True gives up with `Cancelled`.
        """
        from turnout import escalating
        from turnout.router.clock import Clock
        from turnout.router.pipeline import answer

        clock = Clock()
        self._check(question, budget, strategy, decoding, expected_questions)
        mode = escalating.mode(self._opened(), escalate, max_regret, strategy or self._opened().settings.shadow)
        if stopped is not None and stopped():
            raise Cancelled("given up before anything was read")
        self._opened().preload()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._turn.asked())
            with clock.aside("index"):
                read = self.read(documents, collection)
            with clock.step("wait"):
                gave_up = stack.enter_context(self._turn.taken(stopped, _soonest(budget)))
            with clock.aside("index"):
                request = self._request(
                    question, read, collection, budget, strategy, history, instructions, decoding, steady
                )
            waited_s = round(clock.step_seconds("wait"), 2)
            request = dataclasses.replace(
                request, waited_s=waited_s, expected_questions=expected_questions, left_s=left_s
            )
            request = dataclasses.replace(request, escalate=mode, max_regret=max_regret)
            with clock.aside("load"):
                machinery = self._opened().machinery(collection or "")
            is_shared = "concurrent" in machinery.engine.capabilities
            events = stack.enter_context(contextlib.closing(answer(request, machinery, clock, gave_up)))
            for event in events:
                # What is prepared is prepared in turn: strategies and indexes are not made for several at once.
                if is_shared and isinstance(event, Reading | TextDelta):
                    gave_up.let_go()
                if isinstance(event, Done):
                    self._sample(request, event.answer)
                yield event
                if isinstance(event, Decided):
                    gave_up.take_again()  # another strategy is to be prepared

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
        escalate: Escalate | None = None,
        max_regret: float | None = None,
        expected_questions: int | None = None,
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
                escalate=escalate,
                max_regret=max_regret,
                expected_questions=expected_questions,
            )
        )

    # --- inside ------------------------------------------------------------------------------------------------------

    def _check(
        self,
        question: str,
        budget: Budget | None,
        strategy: str | None,
        decoding: Decoding | None = None,
        expected_questions: int | None = None,
    ) -> None:
        """Refuses what can't be meant before any document is read."""
        from turnout.router import policy, series, strategies

        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask something about the documents")
        policy.check(budget or Budget())
        series.check(expected_questions)
        known = [entry.name for entry in strategies.STRATEGIES]
        parts = self._opened()
        for name in (strategy, parts.settings.shadow):
            if name is not None and name not in known:
                raise UnknownNameError("strategy", name, known)
        check_decoding(decoding or Decoding())
        _ = parts.prices
        if parts.settings.regret:
            parts.check_regret()

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
            shadow=parts.settings.shadow,
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

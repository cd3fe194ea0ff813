"""The chat model: questions over documents, answered by turnout."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import override

from turnout.client import Turnout
from turnout.langchain import call, messages, outcome, sources
from turnout.langchain.answering import Answering
from turnout.langchain.errors import shaped
from turnout.langchain.opened import Opened
from turnout.types import Answer, Budget, Done, TextDelta

_IDENTITY: ContextVar[str] = ContextVar("_IDENTITY", default="")
"""Of the documents of the call that is being made."""


class ChatTurnout(BaseChatModel):
    """Answers the last human message from documents, with citations, and says how it decided to use them.

    Every option from `documents` on can be given here, and otherwise in a call: `chat.invoke(text, max_tokens=64)`.

        chat = ChatTurnout(model="http://localhost:11434/v1", model_name="qwen3:8b").bind_documents(["msa.pdf"])
        message = chat.invoke("How long does confidentiality last?")

    Attributes:
        turnout: one that is open already, to share its model and library; the next six are then left out.
        model: packaged name, folder, Hugging Face id, or the base URL of a server; in a call, another one for the call.
        model_name: which model of the server.
        api_key: for the server.
        home: data directory.
        log: how much the ledger keeps.
        prices: file with prices of tokens, for `max_cost` and `optimize="cost"` of a budget.
        documents: what to answer from: paths, texts, documents of LangChain or of the library.
        collection: a collection of the library to answer from instead; "library" is where `turnout add` puts documents.
        budget: limits of an answer, as a `turnout.Budget` or its mapping.
        strategy: how to use the documents, where the router shall not choose.
        temperature: 0 is greedy, the default.
        max_tokens: most tokens of an answer; the kind of question decides by default.
        timeout: seconds that the model may take.
        seed: makes sampling repeatable.
        stop: the answer ends before the first of these strings.
        max_retries: how often a failure that may pass is tried again before anything was shown.
        escalate: when another strategy is asked where the text does not bear an answer, as in `Turnout.stream`; chunks
            can't be taken back, so that what is streamed waits for its check with "always" too.
        max_regret: as in `Turnout.stream`.
        streaming: stream even where the caller does not.
    """

    turnout: Turnout | None = Field(default=None, exclude=True, repr=False)
    model: str | None = None
    model_name: str | None = None
    api_key: SecretStr | None = None
    home: str | os.PathLike[str] | None = None
    log: str | None = None
    prices: str | os.PathLike[str] | None = None
    documents: Any = Field(default=None, repr=False)
    collection: str | None = None
    budget: Budget | Mapping[str, Any] | None = None
    strategy: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    max_retries: int = Field(default=0, ge=0)
    escalate: str | None = None
    max_regret: float | None = None
    streaming: bool = False

    _opened: Opened = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return call.known_fields(cls, values)

    def model_post_init(self, context: Any, /) -> None:
        """Stores what is given; nothing is opened."""
        super().model_post_init(context)
        self.documents, _ = sources.chosen(self.documents, self.collection)
        key = self.api_key.get_secret_value() if self.api_key else None
        self._opened = Opened.of(
            self.turnout,
            model=self.model,
            model_name=self.model_name,
            api_key=key,
            home=self.home,
            log=self.log,
            prices=self.prices,
        )

    # --- what it answers from ----------------------------------------------------------------------------------------

    def bind_documents(self, *documents: sources.Inputs) -> ChatTurnout:
        """The same model, answering from these documents."""
        given = [item for some in documents for item in sources.listed(some) or ()]
        return self.model_copy(update={"documents": given, "collection": None})

    def bind_collection(self, collection: str = "library") -> ChatTurnout:
        """The same model, answering from a collection of the library."""
        return self.model_copy(update={"documents": None, "collection": collection})

    def close(self) -> None:
        """Frees the models that were opened here; a `turnout` that was given stays open."""
        self._opened.close()

    # --- answering ---------------------------------------------------------------------------------------------------

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with shaped():
            for event in self._answering(messages, stop, kwargs, steady=False).events():
                if isinstance(event, Done):
                    return self._result(event.answer)
        raise AssertionError("a stream of turnout ends with Done or raises")

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with shaped():
            async with contextlib.aclosing(self._answering(messages, stop, kwargs, steady=False).aevents()) as events:
                async for event in events:
                    if isinstance(event, Done):
                        return self._result(event.answer)
        raise AssertionError("a stream of turnout ends with Done or raises")

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        shown = ""
        with shaped(), contextlib.closing(self._answering(messages, stop, kwargs, steady=True).events()) as events:
            for event in events:
                if (chunk := self._chunk(event, shown)) is None:
                    continue
                shown += chunk.text
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        shown = ""
        with shaped():
            async with contextlib.aclosing(self._answering(messages, stop, kwargs, steady=True).aevents()) as events:
                async for event in events:
                    if (chunk := self._chunk(event, shown)) is None:
                        continue
                    shown += chunk.text
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    def _answering(
        self, given: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any], *, steady: bool
    ) -> Answering:
        """The call, read and checked; nothing is run yet."""
        wanted = call.merged(self._own(), {**options, "stop": stop} if stop else options)
        return Answering(self._opened, messages.read(given), wanted, steady)

    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in call.OPTIONS}

    def _result(self, answer: Answer) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=outcome.message(answer))])

    def _chunk(self, event: object, shown: str) -> ChatGenerationChunk | None:
        if isinstance(event, TextDelta):
            return ChatGenerationChunk(message=AIMessageChunk(content=event.text))
        if isinstance(event, Done):
            return ChatGenerationChunk(message=outcome.last_chunk(event.answer, shown))
        return None

    # --- what LangChain asks about it --------------------------------------------------------------------------------

    @override
    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Runnable[Any, Any]:
        """Refuses tools with a hint: this model calls none. Without any, the model as it is."""
        if tools:
            raise call.no_tools("tools")
        return self.bind(**kwargs)

    @override
    def get_num_tokens(self, text: str) -> int:
        """Tokens of a text in the model's own tokenizer, estimated where a server has none."""
        with shaped():
            return self._opened.turnout().count_tokens(text)

    @property
    @override
    def _llm_type(self) -> str:
        return "turnout"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        own = self._own() | {"model": self._opened.label, "stop": call.stops(self.stop)}
        return own | {"documents": None if self.documents is None else sources.names(self.documents)}

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        if kwargs.get("documents") is not None:  # a trace names them, it does not hold their text
            kwargs["documents"] = sources.names(sources.listed(kwargs["documents"]) or [])
        return super()._get_invocation_params(stop=stop, **kwargs)

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """What LangChain's cache of answers tells calls apart by: the documents' contents too."""
        return f"{super()._get_llm_string(stop=stop, **kwargs)}---{_IDENTITY.get() or self._identity(kwargs)}"

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Asks which documents they are in a thread, since LangChain asks for `_get_llm_string` on the event loop."""
        caches = self.cache is not False and (self.cache is not None or get_llm_cache() is not None)
        token = _IDENTITY.set(await asyncio.to_thread(self._identity, kwargs) if caches else "")
        try:
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        finally:
            _IDENTITY.reset(token)

    def _identity(self, given: Mapping[str, Any]) -> str:
        with shaped():
            wanted = call.merged(self._own(), given)
            turnout = self._opened.turnout()
            return sources.identity(turnout, sources.resolve(turnout, wanted.documents, wanted.collection))

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or call.stops(self.stop), **kwargs)
        params["ls_provider"] = "turnout"
        params["ls_model_name"] = kwargs.get("model") or self._opened.label
        return params

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        opened = Opened.of(self.turnout, model=self.model, model_name=self.model_name, home=self.home)
        window = opened.turnout().window
        return None if window is None else _profile(opened.label, window)


def _profile(name: str, window: int) -> ModelProfile:
    return ModelProfile(
        name=name,
        max_input_tokens=window,
        text_inputs=True,
        image_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        text_outputs=True,
        tool_calling=False,
        structured_output=False,
        reasoning_output=False,
    )

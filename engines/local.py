"""The local engine: a transformers model on this machine, read from a folder, with its own generation loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.config import DEFAULT_MODEL, DEFAULT_SOFT
from turnout.contracts import Stopper
from turnout.engines import adapter as adapters
from turnout.engines import folder as folders
from turnout.engines import loading, prompt
from turnout.engines.adapter import Adapter
from turnout.engines.admission import Admission
from turnout.engines.authors import Authors
from turnout.engines.calibrated import Chosen
from turnout.engines.device import DtypeName, available_memory_bytes, pick_device, pick_dtype
from turnout.engines.folder import ModelFolder
from turnout.engines.in_flight import InFlight, Load
from turnout.engines.memory import Footprint, prefill_chunk
from turnout.engines.paged import lean
from turnout.engines.paged.kinds import MODEL_TYPES, Adapted, are_pages_for, rooted
from turnout.engines.paged.policy import AttentionPolicy, fitting, grid_of, key_of
from turnout.engines.paged.tiers import DiskTier, HostTier, Tier, resident
from turnout.engines.prompts import AsPrompts
from turnout.engines.scheduler.shares import AT_ONCE, SHARED
from turnout.engines.speculative.plan import Counts
from turnout.engines.tokenizer import ChatTokenizer
from turnout.engines.writing import Writing
from turnout.errors import ModelError
from turnout.types import Context, EngineEvent, GenerationParams, ModelInfo, Token

if TYPE_CHECKING:
    from turnout.engines.loaded import Loaded
    from turnout.engines.paged.sequence import KvSequence
    from turnout.engines.paged.session import Session
    from turnout.engines.scheduler.answer import Answer
    from turnout.engines.scheduler.owner import Owner

DTYPE_BYTES = {"bfloat16": 2, "float32": 4}

HOST_BYTES = 8 << 30
DISK_BYTES = 4 << 30
TOGETHER = 8
"""Answers of `answer_all` that are asked for at once."""

INT8_PARAMETERS = 4_000_000_000
"""Up to this size a second copy of the weights is a fair price for faster writing."""

WAITING = 256
"""Requests that may wait for their turn."""


class LocalEngine(AsPrompts):
    """Runs a decoder-only model of transformers: llama, qwen2, qwen3, mistral and their kin.

    Any thread may ask it for anything: one thread of its own has the model, and does a step of each request after the
    other, see `scheduler`.

    Args:
        path: folder with config.json, tokenizer.json and safetensors weights.
        name: how answers name the model; the folder's name by default.
        device: "cpu", "cuda" or "cuda:N"; the best one by default.
        chunk_tokens: prompt tokens per forward pass; `memory.prefill_chunk` by default.
        pool_bytes: most memory of keys and values, of running and of remembered prompts; see `Admission`.
        dtype: "bfloat16" or "float32"; the one that the device is fast in by default.
        disk: folder for keys and values that other processes, and later ones, find again; None for none.
        disk_bytes: most of it.
        yarn: how many times its window the model shall read, see `folder.stretched`; 1 leaves it as it is.
        adapter: folder of an adapter. It lies beside the weights, so that each sequence reads with or without it;
            `weigh`, `surprise`, `attend`, `locate` and `importance` read without. Where keys and values do not lie in
            pages it is merged into the weights, and everything is read with it.
        chunkfree: folder of an adapter that `locate` alone reads with.
        int8: write with the weights rounded to int8, which is faster on a CPU and takes a byte a weight more; prompts
            are read with the weights as they are. By default on a CPU, up to INT8_PARAMETERS, unless `dtype` is
            "float32".
        attention: what `generate`, `answer_all` and `sequence` read prompts with, and which pages their new tokens look
            at, see `paged.policy`; dense by default.
        lookup: where a short answer that stands in the text is asked for, propose what stood after the same words
            before, see `speculative.ahead`.
        drafter: another model with the same tokens, which drafts where a context asks for it (`DraftedContext`); this
            one by default.
        soft: what makes soft tokens: "mean:RATE", or the folder of trained weights.
        waiting: requests that may wait for their turn; one more is refused.

    Attributes:
        lookup: as given; what is set here counts from the next answer on.
    """

    count_is_exact = True

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        device: str | None = None,
        chunk_tokens: int | None = None,
        adapter: Path | None = None,
        pool_bytes: int | None = None,
        dtype: DtypeName | None = None,
        disk: Path | None = None,
        disk_bytes: int = DISK_BYTES,
        yarn: float = 1.0,
        int8: bool | None = None,
        attention: Chosen = None,
        lookup: bool = True,
        drafter: LocalEngine | None = None,
        soft: str = DEFAULT_SOFT,
        waiting: int = WAITING,
        chunkfree: Path | None = None,
    ) -> None:
        self._path = path
        self.soft = soft
        self._chunkfree = chunkfree
        self._adapter_path = adapter
        self._name = name or path.name
        self._device_name = device
        self._chunk_tokens = chunk_tokens
        self._pool_bytes = pool_bytes
        self._dtype = dtype
        self._disk, self._disk_bytes = disk, disk_bytes
        self._yarn = yarn
        self._int8 = int8
        self._attention = attention
        self.lookup = lookup
        self._authors = Authors(self, drafter)
        self._waiting = waiting
        self._opening = threading.RLock()
        self._loaded: Loaded | None = None
        self._importing: threading.Thread | None = None
        self._requests = InFlight(in_turn=False)
        self._last = threading.local()

    @cached_property
    def model(self) -> ModelInfo:
        """What the files say; read at first use, without loading the model."""
        read = f"-{self.attention.named(self.chunk)}" if self.attention else ""
        read += f"-{self.points_with}" if self.points_with else ""
        return ModelInfo(
            name=self._name,
            window=self.folder.window,
            fingerprint=f"{self.dense_fingerprint}{read}",
            adapter=self._adapter.name if self._adapter else None,
            parameters=self.folder.parameters,
            is_demonstration=self._name == DEFAULT_MODEL,
        )

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """A model that is asked for a quote too gives it after the option, so its answers to choices are not bound."""
        found = {"prefix_cache", "concurrent"}
        return frozenset(found if self.prompt_format.quotes else {*found, "choices"})

    @cached_property
    def dense_fingerprint(self) -> str:
        """That of the model when it reads densely."""
        adapted = f"-{self._adapter.sha256[:16]}" if self._adapter else ""
        precision = f"{self.dtype}+int8" if self.int8 else self.dtype
        return f"{self.folder.fingerprint[:32]}{adapted}-{precision}-{self.device.partition(':')[0]}"

    @cached_property
    def attention(self) -> AttentionPolicy | None:
        """What prompts and new tokens look at; None for everything.

        Raises:
            ModelError, ConfigurationError: it is not for this model.
        """
        given = self._attention(self.dense_fingerprint) if callable(self._attention) else self._attention
        return fitting(given, self.folder, self.chunk)

    @cached_property
    def device(self) -> str:
        return pick_device(self._device_name)

    @property
    def chunk(self) -> int:
        """Prompt tokens per forward pass."""
        return self._chunk_tokens or prefill_chunk(self.device)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model knows."""
        return self.folder.vocabulary

    @cached_property
    def prompt_format(self) -> prompt.PromptFormat:
        return prompt.format_for(self.folder.parameters, self._adapter.evidence if self._adapter else None)

    def preload(self) -> None:
        """Starts importing torch and transformers beside other work; `open` waits for it."""
        if self._loaded is None and self._importing is None:
            model_type = str(self.folder.config.get("model_type", ""))
            self._importing = threading.Thread(target=loading.import_libraries, args=(model_type,), daemon=True)
            self._importing.start()

    def open(self) -> None:
        """Loads the weights.

        Raises:
            ModelError: a file is missing, damaged or refused, or the architecture is not known.
            MissingExtraError: torch or transformers is not installed.
        """
        with self._opening:
            if self._importing is not None:
                self._importing.join()
                self._importing = None
            if self._loaded is None:
                from turnout.engines.loaded import Loaded

                admission = self.admission
                merged = None if admission.footprint.paged else self._adapter
                network = loading.load(self.folder, self.device, self.dtype, merged)
                admission.is_loaded = True
                paged = partial(self._paged, network)
                self._loaded = Loaded.of(self._name, network, paged, admission, self.device, self.chunk, self._waiting)

    def _paged(self, network: Any, owner: Owner) -> Session | None:
        footprint = self.admission.footprint
        if not footprint.paged:
            return None
        from turnout.engines.paged.session import Session

        beside = (each for each in (self._adapter, self._pointer) if each is not None)
        return Session(
            network,
            footprint.kv_shape,
            self.admission.pool_limit(),
            self.device,
            self.dense_fingerprint,
            self._tiers,
            chunk=self.chunk,
            int8=self.int8,
            switches=[adapters.attach(network, each, self._name) for each in beside],
            owner=owner,
        )

    @cached_property
    def _tiers(self) -> Sequence[Tier]:
        """Where keys and values go beside the pool; on a GPU into main memory first."""
        tiers: list[Tier] = []
        if self.device != "cpu":
            tiers.append(HostTier(min(HOST_BYTES, available_memory_bytes() // 4)))
        if self._disk is not None:
            tiers.append(DiskTier(self._disk, self.dense_fingerprint, self._disk_bytes))
        return tiers

    def close(self) -> None:
        """Frees the model. Requests that wait or run end with an error."""
        with self._opening:
            if self._loaded is not None:
                self._loaded.close()
            self._authors.close()
            self._loaded = self._loaded_soft = None
            self.admission.is_loaded = False
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int:
        """Weights and request, in the memory of the device, without the libraries themselves."""
        footprint = self.admission.footprint
        return footprint.weights + footprint.request(prompt_tokens, new_tokens)

    def free_memory_bytes(self) -> int:
        """Of the device; loaded weights and idle pages count as free, because `memory_bytes` counts them too."""
        return self.admission.free_bytes()

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events; greedy at temperature 0, otherwise sampled, repeatable with a seed.

        Raises:
            EngineError: prompt and `max_tokens` do not fit the window; or the engine was closed meanwhile.
            EngineBusyError: too many requests wait.
            MemoryLimitError: they do not fit the memory that is free. What would fit alone waits for others.
            EngineTimeoutError: `timeout_s` is over before the first token; later it ends the answer.
        """
        ids, draft_ids = self.encode(context), self._authors.draft_ids(context)
        self._authors.check(ids, draft_ids, params.max_tokens)
        loaded = self._opened()
        beside = self._authors.check(ids, draft_ids, params.max_tokens)  # the pool has its size only now
        writing = self._writing(params)
        author = self._authors.author(context, ids, draft_ids, writing, lambda: answer.is_cancelled)
        answer = loaded.answer(author, writing, beside)
        loaded.scheduler.submit(answer)
        events = loaded.scheduler.events(answer, stopped or (lambda: False))
        try:
            yield from self._requests.follow(events, author.to_read, params.max_tokens)
        finally:
            refusal = next(iter(self.tokenizer.encode_text(self.prompt_format.refusal)), None)
            self._last.counts = author.counts
            self._last.doubt = None if refusal is None else author.doubt(refusal)

    def can_draft(self) -> bool:
        """Whether it answers a `DraftedContext` as one: keys and values lie in pages."""
        return self.admission.footprint.paged

    def drafted(self) -> Counts:
        """What was proposed for the last answer of `generate` in this thread, and what of it was accepted."""
        found: Counts = getattr(self._last, "counts", Counts())
        return found

    def doubt(self) -> float | None:
        """The probability that the last answer of `generate` in this thread begins with the refusal; None without."""
        found: float | None = getattr(self._last, "doubt", None)
        return found

    @property
    def at_once(self) -> int:
        """Requests that are being read or written now."""
        loaded = self._loaded
        return loaded.scheduler.at_once if loaded is not None else 0

    def in_flight(self) -> Load:
        """The answers of `generate` that are not done."""
        load = self._requests.load()
        if not 0 < load.waiting + load.running < AT_ONCE:
            return load
        return replace(load, step_tokens=max(self.chunk // SHARED, 1))

    def answer_all(self, contexts: Sequence[Context], params: GenerationParams) -> list[str]:
        """The answers to several contexts; what they begin with alike is read once, and they are written together.

        Raises:
            EngineError: as `generate`, for any of them; then none is answered.
        """
        prompts = [self.encode(context) for context in contexts]
        for ids in prompts:
            self.admission.check(len(ids), params.max_tokens)
        loaded = self._opened()
        scheduler = loaded.scheduler
        texts: list[str] = []
        begun: deque[Answer] = deque()
        left = deque(zip(prompts, contexts, strict=True))
        try:
            while left or begun:
                while left and len(begun) < TOGETHER:
                    ids, context = left.popleft()
                    writing = self._writing(params)
                    author = self._authors.author(context, ids, [], writing, lambda: False)
                    begun.append(loaded.answer(author, writing))
                    scheduler.submit(begun[-1])
                events = scheduler.events(begun[0])
                texts.append("".join(event.text for event in events if isinstance(event, Token)))
                begun.popleft()
        finally:
            for answer in begun:
                scheduler.cancel(answer)
        return texts

    def _opened(self) -> Loaded:
        with self._opening:
            self.open()
            assert self._loaded is not None  # noqa: S101 - `open` has made it
            return self._loaded

    @property
    def _session(self) -> Session | None:
        """None where keys and values do not lie in pages, or nothing is loaded."""
        loaded = self._loaded
        return loaded.session if loaded is not None else None

    def _writing(self, params: GenerationParams) -> Writing:
        choices = [ids for choice in params.choices if (ids := self.tokenizer.encode_text(choice))]
        return Writing(params, self.tokenizer.decode, self.end_tokens, self.device, choices)

    def resident(self, context: Context, namespace: str | None = None) -> int:
        """Tokens at the beginning of a context's prompt that need not be read again."""
        adapted = self.is_adapted(context)
        return sum(self._resident(ids, namespace, adapted) for ids in self.prompts(context))

    def _resident(self, ids: list[int], namespace: str | None, adapted: bool) -> int:
        session = self._session
        if session is not None:
            return session.resident(ids, namespace, adapted=adapted, policy=self.attention)
        if not self.admission.footprint.paged:
            return 0
        grid = grid_of(self.attention, self.chunk)
        root = rooted(self.dense_fingerprint, namespace, adapted, key_of(self.attention, self.chunk))
        return resident(self._tiers, root, ids[:-1], 0, grid)

    def forget(self) -> None:
        """Erases what was read from the memory of this process."""
        session = self._session
        if session is not None:
            session.forget()

    def sequence(self, namespace: str | None = None, *, adapted: bool = True) -> loading.Sequence | KvSequence:
        """An empty sequence on the loaded model.

        Args:
            adapted: read with the adapter, if there is one; it can be left out only where keys and values lie in pages.
        """
        return self._opened().sequence(namespace, adapted=adapted, policy=self.attention)

    @property
    def admission(self) -> Admission:
        """What fits the memory."""
        with self._opening:
            return self._admission

    @cached_property
    def _admission(self) -> Admission:
        paged = are_pages_for(self.folder)
        policy = self.attention or AttentionPolicy()
        sparse, bounded = policy.reading is not None, policy.decode is not None
        footprint = Footprint(self.folder, DTYPE_BYTES[self.dtype], self.int8, paged, self.chunk, sparse, bounded)
        return Admission(footprint, self.device, self._pool_bytes)

    @cached_property
    def int8(self) -> bool:
        """Whether answers are written with weights in int8.

        Raises:
            ModelError: that was asked for, of a model or device that it is not made for.
        """
        able = lean.fits(self.folder.config) and are_pages_for(self.folder) and self.device == "cpu"
        if self._int8 is None:
            # Who asks for float32 means it; where it is only what this processor is fast in, int8 is faster still.
            rounds = self.dtype == "bfloat16" or self._dtype is None
            return able and rounds and self.folder.parameters <= INT8_PARAMETERS
        if self._int8 and not able:
            raise ModelError(
                f"{self._name} can't write with int8 weights on {self.device}",
                hint=f"that is for models of the types {', '.join(sorted(MODEL_TYPES))}, on a CPU",
            )
        return self._int8

    @cached_property
    def dtype(self) -> DtypeName:
        return self._dtype or pick_dtype(self.device)

    @cached_property
    def folder(self) -> ModelFolder:
        return folders.stretched(folders.read(self._path), self._yarn)

    @cached_property
    def _adapter(self) -> Adapter | None:
        if self._adapter_path is None:
            return None
        found = adapters.read(self._adapter_path)
        adapters.check(found, self.folder, self._name)
        return found

    @cached_property
    def _pointer(self) -> Adapter | None:
        if self._chunkfree is None:
            return None
        found = adapters.read(self._chunkfree, adapters.CHUNKFREE)
        adapters.check(found, self.folder, self._name)
        return found

    @property
    def points_with(self) -> Adapted:
        """The adapter that `locate` reads with."""
        return self._pointer.key if self._pointer is not None else False

    @cached_property
    def tokenizer(self) -> ChatTokenizer:
        return ChatTokenizer(self._path)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        named = self.tokenizer.id_of(self.tokenizer.special("eos_token"))
        return frozenset(self.folder.end_tokens | ({named} if named is not None else set()))

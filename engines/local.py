"""The local engine: a transformers model on this machine, read from a folder, with its own generation loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from turnout.config import DEFAULT_MODEL
from turnout.contracts import Stopper
from turnout.engines import adapter as adapters
from turnout.engines import folder as folders
from turnout.engines import loading, memory, prompt
from turnout.engines.adapter import Adapter
from turnout.engines.decode import Detokenizer, StopFilter
from turnout.engines.device import available_memory_bytes, pick_device, pick_dtype
from turnout.engines.folder import ModelFolder
from turnout.engines.memory import PREFILL_CHUNK
from turnout.engines.meter import Meter
from turnout.engines.tokenizer import ChatTokenizer
from turnout.errors import EngineError, MemoryLimitError
from turnout.types import Context, EngineEvent, FinishReason, GenerationParams, ModelInfo, Prefilled, Token

DTYPE_BYTES = {"bfloat16": 2, "float32": 4}


class LocalEngine:
    """Runs a decoder-only model of transformers: llama, qwen2, qwen3, mistral and their kin.

    Args:
        path: folder with config.json, tokenizer.json and safetensors weights.
        name: how answers name the model; the folder's name by default.
        device: "cpu", "cuda" or "cuda:N"; the best one by default.
        chunk_tokens: prompt tokens per forward pass.
        adapter: folder of an adapter that is merged into the weights when they are loaded.
    """

    capabilities: frozenset[str] = frozenset()
    count_is_exact = True

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        device: str | None = None,
        chunk_tokens: int = PREFILL_CHUNK,
        adapter: Path | None = None,
    ) -> None:
        self._path = path
        self._adapter_path = adapter
        self._name = name or path.name
        self._device_name = device
        self._chunk_tokens = chunk_tokens
        self._network: Any = None
        self._importing: threading.Thread | None = None

    @cached_property
    def model(self) -> ModelInfo:
        """What the files say; read at first use, without loading the model."""
        adapted = f"-{self._adapter.sha256[:16]}" if self._adapter else ""
        return ModelInfo(
            name=self._name,
            window=self.folder.window,
            fingerprint=f"{self.folder.fingerprint[:32]}{adapted}-{self.dtype}-{self.device.partition(':')[0]}",
            adapter=self._adapter.name if self._adapter else None,
            parameters=self.folder.parameters,
            is_demonstration=self._name == DEFAULT_MODEL,
        )

    @cached_property
    def device(self) -> str:
        return pick_device(self._device_name)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model knows."""
        return self.folder.vocabulary

    @cached_property
    def prompt_format(self) -> prompt.PromptFormat:
        return prompt.format_for(self.folder.parameters, self._adapter.evidence if self._adapter else None)

    def preload(self) -> None:
        """Starts importing torch and transformers beside other work; `open` waits for it."""
        if self._network is None and self._importing is None:
            model_type = str(self.folder.config.get("model_type", ""))
            self._importing = threading.Thread(target=loading.import_libraries, args=(model_type,), daemon=True)
            self._importing.start()

    def open(self) -> None:
        """Loads the weights.

        Raises:
            ModelError: a file is missing, damaged or refused, or the architecture is not known.
            MissingExtraError: torch or transformers is not installed.
        """
        if self._importing is not None:
            self._importing.join()
            self._importing = None
        if self._network is None:
            self._network = loading.load(self.folder, self.device, self.dtype, self._adapter)

    def close(self) -> None:
        self._network = None
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def encode(self, context: Context) -> list[int]:
        """The token ids that `generate` feeds for this context."""
        return self.tokenizer.encode(prompt.pieces(context, self.prompt_format))

    def count(self, context: Context) -> int:
        return self.tokenizer.count(prompt.pieces(context, self.prompt_format))

    def count_text(self, text: str) -> int:
        return self.tokenizer.count_text(text)

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int:
        """Weights and request, in the memory of the device, without the libraries themselves."""
        size = DTYPE_BYTES[self.dtype]
        request = memory.request_bytes(self.folder, prompt_tokens, new_tokens, size)
        return memory.weight_bytes(self.folder, size) + request

    def free_memory_bytes(self) -> int:
        """Of the device; loaded weights count as free, because `memory_bytes` counts them too."""
        free = available_memory_bytes(self.device)
        return free if self._network is None else free + memory.weight_bytes(self.folder, DTYPE_BYTES[self.dtype])

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events; greedy at temperature 0, otherwise sampled, repeatable with a seed.

        Raises:
            EngineError: prompt and `max_tokens` do not fit the window.
            MemoryLimitError: they do not fit the memory that is free.
            EngineTimeoutError: `timeout_s` is over.
        """
        ids = self.encode(context)
        self._check_size(len(ids), params.max_tokens)
        self.open()
        yield from self._run(ids, params, stopped or (lambda: False), self.sequence())

    def answer_all(self, contexts: Sequence[Context], params: GenerationParams) -> list[str]:
        """The answers to several contexts; what all of them begin with is read once.

        A model with sliding-window or linear attention reads each context whole instead, since its cache can't be taken
        back to where the contexts part.

        Raises:
            EngineError: as `generate`, for any of them; then none is answered.
        """
        prompts = [self.encode(context) for context in contexts]
        for ids in prompts:
            self._check_size(len(ids), params.max_tokens)
        sequence = self.sequence()
        if not sequence.can_truncate:
            return [_text(self._run(ids, params, lambda: False, self.sequence())) for ids in prompts]
        # At least one token is left to read, since its logits are what an answer begins with.
        shared = min((_alike(prompts[0], ids[:-1]) for ids in prompts), default=0)
        for begin in range(0, shared, self._chunk_tokens):
            sequence.append(prompts[0][begin : min(begin + self._chunk_tokens, shared)])
        texts = []
        for ids in prompts:
            sequence.truncate(shared)
            texts.append(_text(self._run(ids, params, lambda: False, sequence)))
        return texts

    def _run(
        self, ids: list[int], params: GenerationParams, stopped: Stopper, sequence: loading.Sequence
    ) -> Iterator[EngineEvent]:
        """Goes on from what the sequence has read of `ids`, which is less than all of them."""
        meter = Meter(self.device, memory.weight_bytes(self.folder, DTYPE_BYTES[self.dtype]), params.timeout_s)
        for begin in range(sequence.length, len(ids), self._chunk_tokens):
            meter.check()
            if stopped():
                yield meter.finished("cancelled", len(ids), 0)
                return
            logits = sequence.append(ids[begin : begin + self._chunk_tokens])
            meter.sample()
            yield Prefilled(sequence.length, len(ids))
        pick = loading.sampler(params, self.device)
        text, stops = Detokenizer(self.tokenizer.decode), StopFilter(params.stop)
        reason: FinishReason = "length"
        made = 0
        while made < params.max_tokens:
            token = pick(logits)
            made += 1
            meter.token()
            if token in self.end_tokens:
                reason = "stop"
                break
            shown = stops.push(text.push(token))
            if shown:
                yield Token(shown)
            if stops.stopped:
                reason = "stop"
                break
            meter.check()
            if stopped():
                reason = "cancelled"
                break
            if made < params.max_tokens:
                logits = sequence.append([token])
        rest = "" if stops.stopped else stops.push(text.finish()) + stops.finish()
        if rest and reason != "cancelled":
            yield Token(rest)
        meter.sample()
        yield meter.finished(reason, len(ids), made)

    def sequence(self) -> loading.Sequence:
        """An empty sequence on the loaded model, for measurements."""
        self.open()
        return loading.Sequence(self._network, self.device)

    def _check_size(self, prompt_tokens: int, new_tokens: int) -> None:
        window = self.folder.window
        if prompt_tokens + new_tokens > window:
            raise EngineError(
                f"{prompt_tokens:,} prompt tokens and {new_tokens:,} new ones are over the window of {window:,}",
                hint="give fewer documents, use another strategy, or a model with a larger window",
            )
        free = available_memory_bytes(self.device)
        size = DTYPE_BYTES[self.dtype]
        needed = memory.request_bytes(self.folder, prompt_tokens, new_tokens, size)
        if self._network is None:
            needed += memory.weight_bytes(self.folder, size)
        if needed > free:
            raise MemoryLimitError(
                f"{prompt_tokens:,} prompt tokens need about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
                hint="give fewer documents, set a budget of prompt tokens, or use a smaller model",
            )

    @cached_property
    def dtype(self) -> str:
        return pick_dtype(self.device)

    @cached_property
    def folder(self) -> ModelFolder:
        return folders.read(self._path)

    @cached_property
    def _adapter(self) -> Adapter | None:
        if self._adapter_path is None:
            return None
        found = adapters.read(self._adapter_path)
        adapters.check(found, self.folder, self._name)
        return found

    @cached_property
    def tokenizer(self) -> ChatTokenizer:
        return ChatTokenizer(self._path)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        file = self._path / "generation_config.json"
        configs = [folders.read_json(file)] if file.is_file() else []
        found: set[int | None] = set()
        for config in (*configs, self.folder.config):
            value = config.get("eos_token_id")
            found.update(value if isinstance(value, list) else [value])
        found.add(self.tokenizer.id_of(self.tokenizer.special("eos_token")))
        return frozenset(token for token in found if token is not None)


def _text(events: Iterable[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def _alike(first: list[int], second: list[int]) -> int:
    """How many tokens two prompts begin with in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))

"""The torch side of the local engine: load a model, and feed a sequence."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from turnout.engines import adapter as adapters
from turnout.engines.adapter import Adapter
from turnout.engines.device import memory_of
from turnout.engines.folder import ModelFolder
from turnout.engines.memory import PREFILL_CHUNK
from turnout.engines.scheduler.owner import Owner, on_owner
from turnout.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import torch


def import_libraries(model_type: str) -> None:
    """Imports what `load` needs: seconds of work that other work can run beside. What fails here fails in `load`, with
    a reason."""
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM  # noqa: F401

        if model_type.isidentifier():
            importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")


def load(model: ModelFolder, device: str, dtype: str, adapter: Adapter | None = None) -> Any:
    """The transformers model of a folder, ready for inference; only safetensors, never code from the folder.

    Args:
        adapter: merged into the weights.

    Raises:
        ModelError: transformers does not know the architecture, or the weights do not fit the configuration.
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("a local model", "local") from error
    loader: Any = AutoModelForCausalLM
    with quiet():
        try:
            config: Any = AutoConfig.from_pretrained(model.path, local_files_only=True, trust_remote_code=False)
            if model.yarn != 1:
                _stretch(config, model)
            network, report = loader.from_pretrained(
                model.path,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"transformers can't load {model.path}: {reason}",
                hint=f"model_type is {model.config.get('model_type')!r}: a decoder-only model such as llama, qwen2, "
                "qwen3 or mistral is needed",
            ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"{model.path} lacks {len(missing)} of the weights that its config.json asks for, first {missing[0]}",
            hint="the folder is damaged or belongs to another kind of model: get it again",
        )
    network = network.to(device).eval()
    if adapter is not None:
        adapters.merge(network, adapter, model.path.name)
    return network


def _stretch(config: Any, model: ModelFolder) -> None:
    config.rope_parameters = {
        **config.rope_parameters,
        "rope_type": "yarn",
        "factor": model.yarn,
        "original_max_position_embeddings": config.max_position_embeddings,
    }
    config.max_position_embeddings = model.window


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides the progress bars and notes of transformers, and leaves the caller's choice as it was."""
    from transformers import utils

    logging: Any = utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def cache_argument(network: Any) -> str:
    """What a network of transformers calls its keys and values: "cache" from 5.24 on, before that "past_key_values"."""
    return "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"


class Sequence:
    """One prompt with a KV cache of transformers: for models that pages are not made for, see `paged.session`.

    Args:
        owner: the thread in which tokens are read; the caller's by default.
    """

    reused = 0

    def __init__(self, network: Any, device: str, chunk: int = PREFILL_CHUNK, owner: Owner | None = None) -> None:
        from transformers import DynamicCache

        self.owner = owner
        self.chunk = chunk
        self._network = network
        self._device = device
        self._cache = DynamicCache(config=network.config)
        self._argument = cache_argument(network)
        self.length = 0

    def begin(self, ids: list[int], more: int = 0) -> None:
        """Nothing is taken over and nothing reserved."""

    def publish(self) -> None:
        """Nobody finds what it reads."""

    @on_owner
    def append(self, ids: list[int]) -> torch.Tensor:
        """Reads tokens; returns the logits [1, vocabulary] after the last one.

        Raises:
            MemoryLimitError: the device has no memory left.
        """
        import torch

        with memory_of(self._device, f"after {self.length:,} tokens"), torch.inference_mode():
            output = self._network(
                input_ids=torch.tensor([ids], device=self._device),
                **{self._argument: self._cache},
                use_cache=True,
                logits_to_keep=1,
            )
        self.length += len(ids)
        logits: torch.Tensor = output.logits[0, -1:]
        return logits

    def reading(self, ids: list[int], more: int = 0) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads a prompt, at most `chunk` tokens a step; yields the tokens read and the logits [vocabulary] after."""
        for begin in range(0, len(ids), self.chunk):
            logits = self.append(ids[begin : begin + self.chunk])
            yield self.length, logits[0]

    def close(self, *, keep: bool = True) -> None:
        """Nothing is kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The torch side of the local engine: load a model, feed a sequence, pick a token."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from turnout.engines import adapter as adapters
from turnout.engines.adapter import Adapter
from turnout.engines.folder import ModelFolder
from turnout.errors import MemoryLimitError, MissingExtraError, ModelError
from turnout.types import GenerationParams

if TYPE_CHECKING:
    import torch

WARM_UP_TOKENS = 64


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
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("a local model", "local") from error
    loader: Any = AutoModelForCausalLM
    with quiet():
        try:
            network, report = loader.from_pretrained(
                model.path,
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
    # The weights are mapped from disk and the kernels made at first use: that belongs to loading, not to a request.
    warm_up = Sequence(network, device)
    warm_up.append([0] * WARM_UP_TOKENS)
    warm_up.append([0])
    return network


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


class Sequence:
    """One prompt with its KV cache, batch size 1."""

    def __init__(self, network: Any, device: str) -> None:
        from transformers import DynamicCache

        self._network = network
        self._device = device
        self._cache = DynamicCache(config=network.config)
        self.length = 0

    def append(self, ids: list[int]) -> torch.Tensor:
        """Reads tokens; returns the logits [vocabulary] after the last one.

        Raises:
            MemoryLimitError: the device has no memory left.
        """
        import torch

        try:
            with torch.inference_mode():
                output = self._network(
                    input_ids=torch.tensor([ids], device=self._device),
                    past_key_values=self._cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator has no class of its own
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            raise MemoryLimitError(
                f"{self._device} has no memory left after {self.length:,} tokens",
                hint="give fewer documents, set a budget of prompt tokens, or use a smaller model",
            ) from error
        self.length += len(ids)
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    @property
    def can_truncate(self) -> bool:
        """Whether `truncate` works at any length: not where a layer keeps a sliding window or a running state, which
        has lost what lay before."""
        return not any(self._cache.is_sliding) and not any(self._cache.is_linear)

    def truncate(self, length: int) -> None:
        """Forgets all but the first `length` tokens; only where `can_truncate`."""
        if length < self.length:
            self._cache.crop(length - self.length)
        self.length = length


def sampler(params: GenerationParams, device: str) -> Callable[[torch.Tensor], int]:
    """Picks the next token from logits [vocabulary]: the best one at temperature 0, else a random one."""
    import torch

    if params.temperature <= 0:
        return lambda logits: int(logits.argmax())
    random = torch.Generator(device=device)
    if params.seed is None:
        random.seed()
    else:
        random.manual_seed(params.seed)

    def sample(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float() / params.temperature, dim=-1)
        return int(torch.multinomial(weights, 1, generator=random))

    return sample

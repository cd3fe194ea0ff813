"""LoRA (arXiv 2106.09685) through PEFT: an adapter for a network, and its files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from turnout.engines import adapter
from turnout.engines.adapter import Adapter
from turnout.errors import MissingExtraError, ModelError
from turnout.training.recipe import Recipe

SCALED_LOGITS = ("logit_scale", "logits_scaling", "final_logit_softcapping")


def wrap(network: Any, recipe: Recipe, name: str) -> Any:
    """The network with an untrained adapter on every linear layer but the head.

    Raises:
        ModelError: it has no linear layers to adapt, or attention, logits or layers that training does not know.
        MissingExtraError: PEFT is not installed.
    """
    import torch

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("training an adapter", "train") from error
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(recipe.seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PEFT changes for odd layers is refused below
            wrapped = get_peft_model(network, config)
    except ValueError as error:
        raise ModelError(
            f"{name} ({type(network).__name__}) has no layers that LoRA could be put on: {error}",
            hint="a decoder-only model with linear layers is needed, such as llama, qwen2, qwen3 or mistral",
        ) from error
    _check(network, recipe, name)
    adapter.refuse_special(wrapped.peft_config["default"].to_dict(), name)
    return wrapped


def _check(network: Any, recipe: Recipe, name: str) -> None:
    """Refuses what the loss and the mask of a sheet do not hold for.

    Raises:
        ModelError: logits are scaled, or a token does not see all before it.
    """
    config = network.config
    odd = [field for field in SCALED_LOGITS if getattr(config, field, None) not in (None, 1, 1.0)]
    window = getattr(config, "sliding_window", None)
    if window is not None and window < recipe.max_tokens and getattr(config, "use_sliding_window", True):
        odd.append(f"sliding_window {window:,} below {recipe.max_tokens:,} tokens")
    odd += sorted({kind for kind in getattr(config, "layer_types", None) or () if "linear" in kind})
    if getattr(config, "_attn_implementation", "sdpa") != "sdpa":
        odd.append(f"{config._attn_implementation} attention")
    if odd:
        raise ModelError(
            f"{name} has {odd[0]}, which training does not know",
            hint="use a model such as llama, qwen2, qwen3 or mistral, and examples within its sliding window",
        )


def go_on(wrapped: Any, start: Adapter, name: str) -> None:
    """Puts the weights of an adapter into a wrapped network's own, which must be of the same rank and scale.

    Raises:
        ModelError: they do not fit.
    """
    import torch

    base, config = wrapped.get_base_model(), wrapped.peft_config["default"]
    if config.lora_alpha / config.r != start.scale:
        raise ModelError(
            f"{start.path} has the scale {start.scale:g}, and the recipe {config.lora_alpha / config.r:g}",
            hint="train with the rank of the adapter that is gone on from",
        )
    with torch.no_grad():
        for module, down, up in adapter.pairs(base, start, name):
            layer = base.get_submodule(module)
            if down.shape[0] != config.r:
                raise ModelError(f"{start.path} is of rank {down.shape[0]}", hint=f"--rank {down.shape[0]}")
            layer.lora_A["default"].weight.copy_(down)
            layer.lora_B["default"].weight.copy_(up)


def save(model: Any, folder: Path) -> None:
    """Writes the adapter as PEFT does, its weights in bfloat16: half the size, and below what training can tell."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in get_peft_model_state_dict(model).items()
    }
    config = model.peft_config["default"]
    config.inference_mode = True
    config.base_model_name_or_path = None  # a path of this machine; the card names the model
    config.save_pretrained(str(folder))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "adapter_model.safetensors")

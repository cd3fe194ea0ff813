"""Adapters: small weights (LoRA, arXiv 2106.09685) that are added to a model's own when it is loaded.

A folder holds what PEFT writes (adapter_config.json, adapter_model.safetensors) and card.json, which names the model
that it was trained on. Merging is done here: W + B A * alpha / rank for each adapted matrix, in the precision of the
product, so that reading with an adapter costs nothing more and needs no further library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.engines.folder import ModelFolder, read_json
from turnout.errors import ModelError

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.switched import Switch

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CARD = "card.json"
SHIPPED = Path(__file__).parent / "adapters"
CHUNKFREE = "chunkfree"
"""What the card of an adapter has as its kind that points at sentences (`engines.locating`). A reader's has none."""

EVIDENCE = ("number", "after", "sentence", "none")
"""What an adapted model's answer gives as evidence, see `turnout.training.recipe`."""

NUMBERED = ("number", "after")
"""Those that name a sentence by its number in the prompt."""

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_SPECIAL = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
_PROBES = 16
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's folder, read but not loaded.

    Attributes:
        name: as the card has it ("reader1").
        base: name of the model that it was trained on.
        sha256: of configuration and weights; part of the model's fingerprint.
        scale: alpha / rank.
        evidence: what a reader's was trained to give with an answer, one of EVIDENCE: it decides how it is asked.
        kind: what it was trained for; None for a reader's.
        shape, probe: what its model must agree in, see `identity`.
    """

    path: Path
    name: str
    base: str
    sha256: str
    scale: float
    shape: dict[str, Any]
    probe: tuple[float, ...]
    evidence: str
    kind: str | None = None

    @property
    def key(self) -> str:
        """What sequences ask for it by, and what their keys and values are kept under."""
        return f"{self.kind}-{self.sha256[:16]}"


def read(path: Path, kind: str | None = None) -> Adapter:
    """Reads an adapter's folder.

    Args:
        kind: CHUNKFREE, or None for a reader's.

    Raises:
        ModelError: a file is missing or damaged, or it is no plain LoRA adapter, or it was trained for something else.
    """
    config = read_json(path / CONFIG, "an adapter is a folder with adapter_config.json, such as PEFT writes")
    card = read_json(path / CARD, "`turnout train` writes it; it names the model that the adapter belongs to")
    refuse_special(config, str(path))
    weights = path / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{weights} is missing", hint="only safetensors are loaded")
    if card.get("kind") != kind:
        raise ModelError(
            f"{path} holds an adapter of the kind {card.get('kind') or 'reader'}, not {kind or 'reader'}",
            hint=f"`turnout train {kind or 'reader'}` makes one",
        )
    recipe = card.get("recipe")
    evidence = str(recipe.get("evidence")) if kind is None and isinstance(recipe, dict) else "none"
    if evidence not in EVIDENCE:
        raise ModelError(
            f"{path} was trained to give evidence as {evidence!r}, which is not known here",
            hint=f"known: {', '.join(EVIDENCE)}; train it again, or use the version that trained it",
        )
    try:
        scale = float(config["lora_alpha"]) / float(config["r"])
        return Adapter(
            path,
            str(card["name"]),
            str(card["base"]["name"]),
            hashlib.sha256((path / CONFIG).read_bytes() + weights.read_bytes() + evidence.encode()).hexdigest(),
            scale,
            dict(card["base"]["shape"]),
            tuple(map(float, card["base"]["probe"])),
            evidence,
            kind,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path} lacks a usable {error}", hint="train the adapter again") from error


def refuse_special(config: Mapping[str, Any], name: str) -> None:
    """Refuses a configuration that is not W + B A * alpha / rank.

    Raises:
        ModelError: what it has besides.
    """
    special = [field for field in _SPECIAL if config.get(field)]
    if str(config.get("peft_type")).rpartition(".")[2] != "LORA" or special or config.get("bias", "none") != "none":
        what = special[0] if special else f"peft_type {config.get('peft_type')!r}, bias {config.get('bias')!r}"
        raise ModelError(f"{name} is not a plain LoRA adapter: {what}", hint="merge it with PEFT, and use the model")


def shape_of(model: ModelFolder) -> dict[str, Any]:
    """The sizes that an adapter's model must have."""
    config = model.config.get("text_config") or model.config
    return {name: config.get(name) for name in _SHAPE}


def identity(model: ModelFolder, network: Any) -> dict[str, Any]:
    """How a model is told from others: its `shape`, and `probe`, some of its input embedding's values. Those stay the
    same when files are converted, which hashes do not."""
    return {"shape": shape_of(model), "probe": _probe(network)}


def _probe(network: Any) -> list[float]:
    weight = network.get_input_embeddings().weight.detach().flatten()
    return [round(float(weight[len(weight) * index // _PROBES]), 6) for index in range(_PROBES)]


def shipped(model_name: str) -> Path | None:
    """The adapter that comes with this package for a packaged model, if there is one."""
    path = SHIPPED / model_name
    return path if (path / WEIGHTS).is_file() else None


def check(adapter: Adapter, model: ModelFolder, model_name: str) -> None:
    """Refuses an adapter of another model by the models' sizes, before anything is loaded.

    Raises:
        ModelError: the sizes differ.
    """
    if adapter.shape != shape_of(model):
        raise _other(adapter, model_name)


def _other(adapter: Adapter, model_name: str) -> ModelError:
    out = "--no-adapter" if adapter.kind is None else f"unset TURNOUT_{adapter.kind.upper()}"
    return ModelError(
        f"the adapter {adapter.name} ({adapter.path}) was trained on {adapter.base}, not on {model_name}",
        hint=f"use it with {adapter.base}, or leave it out: {out}",
    )


def merge(network: Any, adapter: Adapter, model_name: str) -> None:
    """Adds the adapter's weights to those of a loaded model, in place.

    Raises:
        ModelError: the model is another one than the adapter was trained on, or the adapter is damaged; the model is
            then not to be used.
    """
    import torch

    with torch.inference_mode():
        for name, down, up in pairs(network, adapter, model_name):
            target = network.get_submodule(name).weight
            delta = up.float().to(target.device) @ down.float().to(target.device) * adapter.scale
            target.copy_((target.float() + delta).to(target.dtype))


def attach(network: Any, adapter: Adapter, model_name: str) -> Switch:
    """Puts the adapter beside the weights of a loaded model, and others that are there already, off until the switch
    that is returned says otherwise. A reader's is asked for by True, another one by its key.

    Raises:
        ModelError: as `merge`.
    """
    from turnout.engines.paged.switched import Switch, SwitchedLinear

    switch = Switch(True if adapter.kind is None else adapter.key)
    head = network.get_output_embeddings()
    for name, down, up in pairs(network, adapter, model_name):
        linear = network.get_submodule(name)
        if linear is head:
            raise ModelError(
                f"the adapter {adapter.name} changes the output layer {name}, which can't be switched",
                hint="merge it, or train an adapter of the layers below",
            )
        weight = linear.weight
        down, up = (part.to(weight.device, weight.dtype) for part in (down, up.float() * adapter.scale))
        network.set_submodule(name, SwitchedLinear(linear, down, up, switch))
    return switch


def pairs(network: Any, adapter: Adapter, model_name: str) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(module, A [rank, in], B [out, rank]) of each adapted matrix.

    Raises:
        ModelError: the network is another model's than the adapter's, or the adapter is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if any(abs(a - b) > 0.01 * max(abs(b), 0.001) for a, b in zip(_probe(network), adapter.probe, strict=True)):
        raise _other(adapter, model_name)
    try:
        weights = load_file(adapter.path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{adapter.path / WEIGHTS} can't be read: {error}", hint="get the adapter again") from error
    modules = {name.removesuffix(end) for name in weights for end in (_DOWN, _UP) if name.endswith(end)}
    if not modules or len(weights) != 2 * len(modules):
        raise _damaged(adapter, f"{len(weights)} tensors are not pairs of lora_A and lora_B")
    found = []
    for module in sorted(modules):
        try:
            down, up = weights[module + _DOWN], weights[module + _UP]
            target = network.get_submodule(module.removeprefix(_PREFIX)).weight
        except (KeyError, AttributeError) as error:
            raise _damaged(adapter, f"{module}: {error}") from error
        if up.shape[1] != down.shape[0] or (up.shape[0], down.shape[1]) != tuple(target.shape):
            shapes = f"{tuple(up.shape)} by {tuple(down.shape)}"
            raise _damaged(adapter, f"{module} is {shapes}, its matrix {tuple(target.shape)}")
        found.append((module.removeprefix(_PREFIX), down, up))
    return found


def _damaged(adapter: Adapter, reason: str) -> ModelError:
    return ModelError(f"the adapter {adapter.name} ({adapter.path}) is damaged: {reason}", hint="get it again")

"""Trained weights for soft tokens: LoRA for the reader that makes them, a linear layer, and a card that names them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.engines import adapter
from turnout.engines.adapter import CARD, CONFIG, WEIGHTS, Adapter
from turnout.engines.folder import ModelFolder, read_json
from turnout.engines.soft.kind import RATES
from turnout.errors import ModelError

if TYPE_CHECKING:
    import torch

LINEAR = "linear.safetensors"
KIND = "soft"


@dataclass(frozen=True, slots=True)
class SoftWeights:
    """A folder, read but not loaded.

    Attributes:
        lora: as a reader's adapter is read.
        rate, piece_tokens: that they were trained with.
        end: token whose embedding is the end marker.
        sha256: of all files but the card; part of the fingerprint.
    """

    path: Path
    lora: Adapter
    rate: int
    piece_tokens: int
    end: int
    sha256: str


def read(path: Path, model: ModelFolder, model_name: str) -> SoftWeights:
    """Reads a folder that `turnout train soft` wrote.

    Raises:
        ModelError: a file is missing or damaged, or it is another model's.
    """
    card, config = read_json(path / CARD, "`turnout train soft` writes it"), read_json(path / CONFIG)
    adapter.refuse_special(config, str(path))
    for name in (WEIGHTS, LINEAR):
        if not (path / name).is_file():
            raise ModelError(f"{path / name} is missing", hint="train the weights again, or get them again")
    try:
        if card["kind"] != KIND or int(card["rate"]) not in RATES:
            raise ModelError(
                f"{path} holds {card['kind']!r} at rate {card['rate']!r}, no weights for soft tokens",
                hint=f"rates are {', '.join(map(str, RATES))}",
            )
        base = card["base"]
        lora = Adapter(
            path,
            str(card["name"]),
            str(base["name"]),
            str(card.get("sha256", "")),
            float(config["lora_alpha"]) / float(config["r"]),
            dict(base["shape"]),
            tuple(map(float, base["probe"])),
            "none",
        )
        digest = hashlib.sha256()
        for name in (CONFIG, WEIGHTS, LINEAR):
            digest.update((path / name).read_bytes())
        found = SoftWeights(
            path, lora, int(card["rate"]), int(card["piece_tokens"]), int(card["end"]), digest.hexdigest()
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path} lacks a usable {error}", hint="train the weights again") from error
    adapter.check(found.lora, model, model_name)
    return found


@dataclass(frozen=True, slots=True)
class Loaded:
    """The weights beside a network.

    Attributes:
        pairs: (module, A [rank, in], B [out, rank], scaled) of each adapted matrix.
        linear: [hidden, hidden].
        end: [hidden], the end marker's embedding.
    """

    pairs: tuple[tuple[str, torch.Tensor, torch.Tensor], ...]
    linear: torch.Tensor
    end: torch.Tensor


def load(network: Any, weights: SoftWeights, model_name: str) -> Loaded:
    """Puts the weights where the network's are, in its precision.

    Raises:
        ModelError: they are another model's, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    like = network.get_input_embeddings().weight
    try:
        linear = load_file(weights.path / LINEAR)["weight"].to(like.device, like.dtype)
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelError(f"{weights.path / LINEAR} can't be read: {error}", hint="get the weights again") from error
    hidden = like.shape[1]
    if tuple(linear.shape) != (hidden, hidden) or not 0 <= weights.end < like.shape[0]:
        raise ModelError(
            f"the linear layer of {weights.path} is {tuple(linear.shape)}, the model's embeddings have {hidden}",
            hint="get the weights again",
        )
    pairs = tuple(
        (name, down.to(like.device, like.dtype), (up.float() * weights.lora.scale).to(like.device, like.dtype))
        for name, down, up in adapter.pairs(network, weights.lora, model_name)
    )
    return Loaded(pairs, linear, like[weights.end].detach())


@contextlib.contextmanager
def switched_on(network: Any, loaded: Loaded) -> Iterator[None]:
    """The network reads with the LoRA weights, and as it was afterwards: they are added from outside, so that nothing
    of the network changes. A reader's adapter beside its weights is off meanwhile."""
    from turnout.engines.paged.switched import SwitchedLinear

    for module in network.modules():
        if isinstance(module, SwitchedLinear):
            module.switch.rows = False  # each step of the engine sets it anew
    hooks = [
        network.get_submodule(name).register_forward_hook(partial(_added, down, up)) for name, down, up in loaded.pairs
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _added(
    down: torch.Tensor, up: torch.Tensor, module: Any, given: tuple[torch.Tensor, ...], plain: torch.Tensor
) -> torch.Tensor:
    return plain + (given[0] @ down.T) @ up.T

"""Reads a model's folder without loading it: what it is, whether it may be loaded, how large it is."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turnout.errors import ModelError

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MAX_HEADER_BYTES = 100_000_000
ROTARY = frozenset({"llama", "mistral", "phi", "phi3", "qwen2", "qwen3"})
"""Model types with rotary positions that transformers can stretch by YaRN."""
SAMPLES = 64
SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What the files say.

    Attributes:
        window: positions that the model was made for, in tokens; more where they are stretched, see `stretched`.
        parameters: weights in the safetensors files.
        layers, kv_heads, head_dim, hidden, intermediate, vocabulary: the shapes that memory depends on.
        fingerprint: SHA-256 over configuration, tokenizer, and the weights' headers, sizes and samples of their bytes.
    """

    path: Path
    config: dict[str, Any]
    window: int
    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocabulary: int
    fingerprint: str
    yarn: float = 1.0

    @property
    def rope_type(self) -> str:
        """How positions are scaled: "default" for not at all."""
        scaling = self.config.get("rope_parameters") or self.config.get("rope_scaling") or {}
        return str(scaling.get("rope_type") or scaling.get("type") or "default")

    @property
    def end_tokens(self) -> set[int]:
        """The tokens that end an answer, as the two configurations name them."""
        file = self.path / "generation_config.json"
        found: set[int] = set()
        for config in (self.config, read_json(file) if file.is_file() else {}):
            value = config.get("eos_token_id")
            found.update(value if isinstance(value, list) else [value] if value is not None else [])
        return found


def check(folder: Path, *, tokenizer: bool = True) -> dict[str, Any]:
    """The configuration of a folder that may be loaded.

    Raises:
        ModelError: configuration, tokenizer or safetensors weights are missing or damaged, the model needs code
            from its own folder, or its weights are pickled.
    """
    config = read_json(folder / "config.json", "a model folder needs config.json, tokenizer.json and *.safetensors")
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and "auto_map" in read_json(path):
            raise ModelError(
                f"{folder} is refused: its {name} has auto_map, which runs code from the model's folder",
                hint="use a model of an architecture that transformers has itself",
            )
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        if pickled:
            raise ModelError(
                f"{folder} is refused: {pickled[0]} is a pickle, which can run code when it is loaded",
                hint="use a model with safetensors weights",
            )
        raise ModelError(f"{folder} holds no safetensors weights", hint="nothing else is loaded")
    if tokenizer and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json",
            hint="AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it from older formats",
        )
    return config


def read(folder: Path) -> ModelFolder:
    """Reads configuration and weight headers of a generator's folder.

    Raises:
        ModelError: as `check`, or a size is missing from the configuration.
    """
    config = check(folder)
    text = config.get("text_config") or config
    digest = hashlib.sha256()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    parameters = 0
    for weights in sorted(folder.glob("*.safetensors")):
        header = _safetensors_header(weights)
        digest.update(f"{weights.name}\0{weights.stat().st_size}\0".encode() + header)
        _add_samples(digest, weights)
        parameters += _count_parameters(weights, header)
    try:
        heads = int(text["num_attention_heads"])
        hidden = int(text["hidden_size"])
        return ModelFolder(
            path=folder,
            config=config,
            window=int(text["max_position_embeddings"]),
            parameters=parameters,
            layers=int(text["num_hidden_layers"]),
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            hidden=hidden,
            intermediate=int(text.get("intermediate_size") or 4 * hidden),
            vocabulary=int(text["vocab_size"]),
            fingerprint=digest.hexdigest(),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{folder / 'config.json'} lacks a usable {error}",
            hint="use a decoder-only language model such as llama, qwen or mistral",
        ) from error


def window(folder: Path, factor: float = 1.0) -> int:
    """The window of a generator, `factor` times stretched, from its configuration alone; no other file is read.

    Raises:
        ModelError: the configuration is missing, damaged, or does not say.
    """
    config = read_json(folder / "config.json")
    try:
        return int(int((config.get("text_config") or config)["max_position_embeddings"]) * factor)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} lacks a usable {error}", hint="get the model again") from error


def stretched(model: ModelFolder, factor: float) -> ModelFolder:
    """The model with positions for `factor` times its window, by YaRN (arXiv 2309.00071) without further training:
    what it reads well before it reads less well, and what it could not read at all it reads.

    Raises:
        ModelError: the factor is not above 1, or the model's positions are scaled already, or not rotary.
    """
    if factor == 1:
        return model
    if not 1 < factor < math.inf:
        raise ModelError(f"positions can't be stretched {factor:g} times", hint="give a number above 1, such as 2")
    if model.rope_type != "default":
        raise ModelError(
            f"{model.path.name} scales its positions itself ({model.rope_type}), to {model.window:,} tokens",
            hint="use it without YaRN",
        )
    if model.config.get("model_type") not in ROTARY:
        raise ModelError(
            f"YaRN is not known to stretch {model.path.name}, a {model.config.get('model_type')} model",
            hint=f"leave YaRN out, or use a model of the types {', '.join(sorted(ROTARY))}",
        )
    digest = hashlib.sha256(f"{model.fingerprint}/yarn/{factor:g}".encode()).hexdigest()
    return replace(model, window=int(model.window * factor), yarn=factor, fingerprint=digest)


def read_json(path: Path, hint: str = "get the model again") -> dict[str, Any]:
    """A JSON object from a file of the model.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing", hint=hint) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: {error}", hint="the file is damaged: get the model again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object", hint="the file is damaged: get the model again")
    return content


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    """Training changes weights everywhere, so blocks spread over the file tell two of equal shape apart; hashing
    every byte of a large model would take longer than loading it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for index in range(SAMPLES):
            file.seek(size * index // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))


def _safetensors_header(path: Path) -> bytes:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        header = file.read(length) if 0 < length <= MAX_HEADER_BYTES else b""
    if not header or len(header) != length:
        raise ModelError(f"{path} is not a whole safetensors file", hint="the file is damaged: get the model again")
    return header


def _count_parameters(path: Path, header: bytes) -> int:
    total, end = 0, 0
    try:
        for name, tensor in json.loads(header).items():
            if name == "__metadata__":
                continue
            count = 1
            for size in tensor["shape"]:
                count *= size
            total += count
            end = max(end, tensor["data_offsets"][1])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} has a damaged header: {error}", hint="get the model again") from error
    expected = 8 + len(header) + end
    if path.stat().st_size < expected:
        raise ModelError(
            f"{path} is cut off: {path.stat().st_size:,} of {expected:,} bytes", hint="get the model again"
        )
    return total

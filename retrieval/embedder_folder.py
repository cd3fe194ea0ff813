"""What an embedder's folder holds, read without loading it; whatever could run code is refused here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from turnout.errors import ModelError

_PREFIX = "sentence_transformers."
_NOT_THE_MODEL = frozenset({"manifest.json", "data_config.json"})
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True, slots=True)
class EmbedderFolder:
    """A sentence-transformers folder.

    `is_bert` says that it is a BERT encoder with mean pooling and nothing else, which `BertEncoder` runs; `positions`
    is then the longest text, in tokens, that it can read at once.
    """

    path: Path
    dimension: int
    is_bert: bool
    positions: int
    config: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> EmbedderFolder:
        """Reads and checks the folder's descriptions.

        Raises:
            ModelError: a file is missing or damaged, or the folder asks for remote code or pickled weights.
        """
        if not path.is_dir():
            raise ModelError(f"the embedder's folder {path} is not there", hint="turnout models pull")
        modules = read_json(path / "modules.json")
        if not isinstance(modules, list) or not modules:
            raise ModelError(f"{path / 'modules.json'} lists no modules", hint="not a sentence-transformers folder")
        config = read_json(path / "config.json")
        kinds = [str(module.get("type", "")) for module in modules]
        folders = [path / str(module.get("path", "")) for module in modules]
        _refuse_code(path, kinds, config)
        for folder in folders:
            refuse_pickles(folder)
        names = [kind.rpartition(".")[2] for kind in kinds]
        pooling = read_json(folders[names.index("Pooling")] / "config.json") if "Pooling" in names else {}
        return cls(
            path=path,
            dimension=_dimension(names, folders, pooling, config),
            is_bert=config.get("model_type") == "bert"
            and folders[0] == path
            and names in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
            and _is_mean(pooling)
            and not _prompts(path)
            and (path / "tokenizer.json").is_file(),
            positions=int(config.get("max_position_embeddings", 512)),
            config=config,
        )

    def identity(self) -> list[tuple[str, Path]]:
        """(name, path) of every file that decides the vectors, in a fixed order."""
        files = (file for pattern in ("*.json", "*.safetensors", "*.txt") for file in self.path.rglob(pattern))
        return sorted((f.relative_to(self.path).as_posix(), f) for f in files if f.name not in _NOT_THE_MODEL)


@lru_cache(maxsize=1)
def has_fast_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AVX-512 BF16 or AMX)."""
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def read_json(path: Path) -> Any:
    """What a description of a model says.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing", hint="not a sentence-transformers folder, or: turnout models pull"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: {error}", hint="turnout models verify") from error


def _refuse_code(path: Path, kinds: list[str], config: dict[str, Any]) -> None:
    # sentence-transformers would import such a class from the folder itself: a local folder counts as trusted there.
    foreign = [kind for kind in kinds if not kind.startswith(_PREFIX)]
    if foreign or "auto_map" in config:
        raise ModelError(
            f"{path} asks to run its own code ({foreign[0] if foreign else 'auto_map in config.json'})",
            hint="models that bring code are never run; choose another embedder",
        )


def refuse_pickles(folder: Path) -> None:
    """Raises ModelError: the only weights are such as can run code when they are loaded."""
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder / pickles[0]} holds pickled weights, which can run code when loaded",
            hint="convert them to safetensors, or choose another model",
        )


def _prompts(path: Path) -> bool:
    file = path / "config_sentence_transformers.json"
    return file.is_file() and any((read_json(file).get("prompts") or {}).values())


def _is_mean(pooling: dict[str, Any]) -> bool:
    if "pooling_mode" in pooling:
        return bool(pooling["pooling_mode"] == "mean")
    return [mode for mode, on in pooling.items() if mode.startswith("pooling_mode_") and on is True] == [
        "pooling_mode_mean_tokens"
    ]


def _dimension(names: list[str], folders: list[Path], pooling: dict[str, Any], config: dict[str, Any]) -> int:
    for name, folder in zip(reversed(names), reversed(folders), strict=True):
        if name == "Dense":
            return int(read_json(folder / "config.json")["out_features"])
    size = pooling.get("word_embedding_dimension") or pooling.get("embedding_dimension") or config.get("hidden_size")
    if not size:
        raise ModelError(f"{folders[0]} does not say how long its vectors are", hint="choose another embedder")
    return int(size)

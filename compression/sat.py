"""Sentence boundaries by SaT (Segment any Text, arXiv 2406.16678): for texts whose sentences no mark or rule ends.

A small XLM-RoBERTa says of each token how likely a line would end after it. No weights come with turnout: the folder
holds config.json and safetensors weights of one of its supervised mixtures, such as segment-any-text/sat-3l-sm, and the
tokenizer.json of xlm-roberta-base.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.compression.units import Unit, units_of
from turnout.errors import MissingExtraError, ModelError
from turnout.retrieval.embedder_folder import read_json, refuse_pickles
from turnout.sentences import tiled, trimmed

if TYPE_CHECKING:
    from turnout.compression.units import Cuts

THRESHOLD = 0.25
"""Probability from which a sentence ends: the published one of the supervised mixtures."""

WINDOW_TOKENS, OVERLAP_TOKENS = 256, 64
"""Read at once, as in its training; and of those read twice, where the window with more around a token counts."""

AT_ONCE = 16
VERSION = "1"
"""Of how windows are read; part of the fingerprint."""


class SatCuts:
    """Units whose prose is cut into sentences by SaT; headings, tables, lists and fenced code stay whole as ever.

    Args:
        folder: see above.
        device: "cpu", "cuda" or None for the best one here.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, str] | None = None

    def __call__(self, text: str) -> tuple[Unit, ...]:
        """See `Cuts`.

        Raises:
            ModelError: files are missing, damaged or of another model.
            MissingExtraError: torch, transformers or tokenizers is not installed.
        """
        return units_of(text, split=lambda prose: trimmed(prose, self.sentences(prose)))

    @cached_property
    def fingerprint(self) -> str:
        """Of all files that decide where sentences end.

        Raises:
            ModelError: the folder is not there.
        """
        digest = hashlib.sha256(f"sat {VERSION}".encode())
        for file in [self._folder / "config.json", self._folder / "tokenizer.json", *self._weights()]:
            try:
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
            except OSError as error:
                raise _unreadable(file, error) from error
        return digest.hexdigest()

    def sentences(self, text: str) -> list[tuple[int, int]]:
        """Spans as of `turnout.sentences.sentences`: without gaps, and none too long."""
        with self._lock:  # tokenizers are not safe to share between threads
            model, tokenizer, where = self._opened()
            encoded = tokenizer.encode(text, add_special_tokens=False)
            ends = self._ends(encoded.ids, model, tokenizer, where)
        starts = [0]
        for number in np.flatnonzero(ends[:-1] >= THRESHOLD):
            starts.append(encoded.offsets[number + 1][0])
        return tiled(text, sorted(set(starts)))

    def _ends(self, ids: list[int], model: Any, tokenizer: Any, where: str) -> NDArray[np.float32]:
        """[ids]: the probability that a sentence ends with each."""
        import torch

        first_id, last_id = (tokenizer.token_to_id(mark) for mark in ("<s>", "</s>"))
        found = np.zeros(len(ids), np.float32)
        windows = list(windows_of(len(ids)))
        for begin in range(0, len(windows), AT_ONCE):
            some = windows[begin : begin + AT_ONCE]
            rows = [[first_id, *ids[first:last], last_id] for first, last, _ in some]
            width = max(map(len, rows))
            batch = torch.full((len(rows), width), int(model.config.pad_token_id))
            mask = torch.zeros((len(rows), width), dtype=torch.long)
            for place, row in enumerate(rows):
                batch[place, : len(row)] = torch.tensor(row)
                mask[place, : len(row)] = 1
            with torch.inference_mode():
                logits = model(input_ids=batch.to(where), attention_mask=mask.to(where)).logits[..., 0]
            likely = logits.float().sigmoid().cpu().numpy()
            if not np.isfinite(likely).all():
                raise ModelError(f"{self._folder} gives probabilities that are no numbers", hint="get it again")
            for place, (first, last, new) in enumerate(some):
                found[new:last] = likely[place, 1 + new - first : 1 + last - first]
        return found

    def _opened(self) -> tuple[Any, Any, str]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _weights(self) -> list[Path]:
        return sorted(self._folder.glob("*.safetensors"))

    def _load(self) -> tuple[Any, Any, str]:
        try:
            config = read_json(self._folder / "config.json")
        except ModelError as error:
            raise _unreadable(self._folder, error) from error
        _refuse_others(self._folder, config)
        refuse_pickles(self._folder)
        try:
            import torch
            from safetensors.torch import load_file
            from tokenizers import Tokenizer
            from transformers.models.xlm_roberta.configuration_xlm_roberta import XLMRobertaConfig
            from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaForTokenClassification
        except ImportError as error:
            raise MissingExtraError("cutting sentences by SaT", "local") from error
        where = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            weights = {name: each for file in self._weights() for name, each in load_file(file).items()}
            labels = weights["classifier.weight"].shape[0]
            fields = {k: v for k, v in config.items() if k not in ("model_type", "id2label", "label2id", "num_labels")}
            model: Any = XLMRobertaForTokenClassification(XLMRobertaConfig(**(fields | {"num_labels": labels})))
            missing = model.load_state_dict(weights, strict=False).missing_keys
        except Exception as error:
            raise _unreadable(self._folder, error) from error
        if missing:
            raise _unreadable(self._folder, f"the weights lack {missing[0]} and {len(missing) - 1} more")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return model.to(where).eval(), tokenizer, where


def windows_of(length: int) -> list[tuple[int, int, int]]:
    """(first, last, new) of what is read at once: tokens [first, last), of which [new, last) were not read before, or
    with less around them."""
    found: list[tuple[int, int, int]] = []
    first = 0
    while not found or found[-1][1] < length:
        last = min(first + WINDOW_TOKENS, length)
        found.append((first, last, first + OVERLAP_TOKENS // 2 if first else 0))
        first += WINDOW_TOKENS - OVERLAP_TOKENS
    return found if length else []


def _refuse_others(folder: Path, config: Any) -> None:
    if not isinstance(config, dict) or config.get("model_type") not in ("xlm-token", "xlm-roberta"):
        raise ModelError(f"{folder} holds no SaT model", hint="give the folder of segment-any-text/sat-3l-sm")
    if config.get("lookahead") is not None:
        raise ModelError(
            f"the model in {folder} looks {config['lookahead']} tokens ahead, which is not supported",
            hint="take a supervised mixture: a name that ends with -sm",
        )


def _unreadable(path: Path, why: object) -> ModelError:
    return ModelError(
        f"{path} can't be loaded: {why}",
        hint="a SaT folder has config.json, *.safetensors and the tokenizer.json of xlm-roberta-base",
    )


if TYPE_CHECKING:
    _: type[Cuts] = SatCuts

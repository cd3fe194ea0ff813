"""A cross-encoder puts the best passages of a search in order: it reads question and passage together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.errors import MissingExtraError, ModelError
from turnout.progress import Watch
from turnout.retrieval.embedder_folder import read_json, refuse_pickles

if TYPE_CHECKING:
    from turnout.contracts import Ranker

QUESTION_TOKENS = 128
"""Of a longer question, those at its beginning are read."""

OVERLAP_TOKENS = 32
"""Of the pieces that a passage is read in where it is too long to be read at once."""

AT_ONCE = 16


class CrossEncoderRanker:
    """A sequence classifier of transformers with one label, such as sentence-transformers' cross-encoders.

    Args:
        folder: holds config.json, tokenizer files and safetensors weights.
        device: "cpu", "cuda" or None for the best one here.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, int, str] | None = None
        self.name = folder.name

    def open(self) -> None:
        """Loads the model.

        Raises:
            ModelError: files are missing, damaged or refused (own code, pickle), or it is no such classifier.
            MissingExtraError: torch or transformers is not installed.
        """
        with self._lock:
            self._opened()

    def scores(self, question: str, texts: Sequence[str], watch: Watch | None = None) -> list[float]:
        """[texts]: how well each answers the question, higher is better; the best piece's of a long one.

        Raises:
            ModelError: see `open`; or a score is no number.
            Cancelled: the watch said so between two batches.
        """
        watch = watch or Watch()
        if not texts:
            return []
        import torch

        # Tokenizers are not safe to share between threads.
        with self._lock:
            model, tokenizer, most, where = self._opened()
            asked, taken = _beginning(tokenizer, question, min(QUESTION_TOKENS, most // 2))
            room = most - taken - tokenizer.num_special_tokens_to_add(pair=True)
            pairs = tokenizer(
                [asked] * len(texts),
                list(texts),
                truncation="only_second",
                max_length=most,
                stride=min(OVERLAP_TOKENS, room // 4),
                return_overflowing_tokens=True,
            )
            of = pairs.pop("overflow_to_sample_mapping")
            best = np.full(len(texts), -np.inf)
            for start in range(0, len(of), AT_ONCE):
                watch.go_on()
                some = slice(start, start + AT_ONCE)
                batch = tokenizer.pad({name: rows[some] for name, rows in pairs.items()}, return_tensors="pt")
                with torch.inference_mode():
                    logits = model(**batch.to(where)).logits[:, 0].float().cpu().numpy()
                if not np.isfinite(logits).all():
                    raise ModelError(f"{self.name} gives scores that are no numbers", hint="use another reranker")
                np.maximum.at(best, of[some], logits)
        return [float(score) for score in best]

    def _opened(self) -> tuple[Any, Any, int, str]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> tuple[Any, Any, int, str]:
        config = read_json(self._folder / "config.json")
        if "auto_map" in config:
            raise ModelError(f"{self._folder} asks to run its own code", hint="models that bring code are never run")
        refuse_pickles(self._folder)
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("reranking", "local") from error
        where = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            options = {"local_files_only": True, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(self._folder, use_fast=True, **options)
            model = AutoModelForSequenceClassification.from_pretrained(self._folder, use_safetensors=True, **options)
        except Exception as error:
            raise ModelError(
                f"{self._folder} can't be loaded: {error}", hint="give a cross-encoder's folder"
            ) from error
        if model.config.num_labels != 1:
            raise ModelError(
                f"{self._folder} tells {model.config.num_labels} labels apart, a reranker has one score",
                hint="give a cross-encoder's folder",
            )
        positions = int(getattr(model.config, "max_position_embeddings", 512))
        if "roberta" in str(model.config.model_type):  # its kin count positions from behind the padding's
            positions -= int(model.config.pad_token_id) + 1
        most = min(int(tokenizer.model_max_length), positions)
        return model.to(where).eval(), tokenizer, most, where


def _beginning(tokenizer: Any, question: str, most: int) -> tuple[str, int]:
    """What of a question is read, and its tokens."""
    places = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return (question, len(places)) if len(places) <= most else (question[: places[most - 1][1]], most)


if TYPE_CHECKING:
    _: type[Ranker] = CrossEncoderRanker

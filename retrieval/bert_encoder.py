"""BERT with mean pooling, over transformers' model class and the tokenizers library alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MissingExtraError, ModelError
from turnout.retrieval.embed import Progress
from turnout.retrieval.embedder_folder import EmbedderFolder

if TYPE_CHECKING:
    import torch

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 32_768
"""Tokens per forward pass. On a processor about five segments, whose activations stay in its cache."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens that are read at once of a text; `owners` says of which piece of it each is, where it has pieces."""

    text: int
    tokens: list[int]
    owners: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))


def load_bert(folder: EmbedderFolder, device: str | None, dtype: str) -> tuple[Any, Any, str]:
    """A BERT encoder in evaluation mode, its tokenizer (of the tokenizers library, without padding), and the device.

    Raises:
        ModelError: the weights do not fit the configuration, or a file is damaged.
        MissingExtraError: torch, transformers or tokenizers is not installed.
    """
    try:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        # Straight from its module: `sentence_transformers` takes twice as long to import.
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel
    except ImportError as error:
        raise MissingExtraError(f"embedding text ({error.name})", "local") from error

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
        weights: dict[str, torch.Tensor] = {}
        for file in sorted(folder.path.glob("*.safetensors")):
            weights.update(load_file(file))
    except Exception as error:
        raise ModelError(f"{folder.path} can't be loaded: {error}", hint="turnout models verify") from error
    tokenizer.no_padding()
    model: Any = BertModel(BertConfig(**folder.config), add_pooling_layer=False)
    weights = {name.removeprefix("bert."): value for name, value in weights.items()}
    try:
        missing = model.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {folder.path} have other shapes than config.json says", hint="turnout models verify"
        ) from error
    if missing:
        raise ModelError(
            f"the weights in {folder.path} lack {missing[0]} and {len(missing) - 1} more",
            hint="turnout models verify",
        )
    return model.to(device=where, dtype=getattr(torch, dtype)).eval(), tokenizer, where


class BertEncoder:
    """Texts to unit vectors: the mean of the last layer over all tokens of a text.

    A text over the model's window is read in several windows, and the mean is over the tokens of all of them.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Any, device: str) -> None:
        self._batch_tokens = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS
        self._model = model
        self._tokenizer = tokenizer
        self._device = device

    @classmethod
    def load(cls, folder: EmbedderFolder, device: str | None, dtype: str) -> BertEncoder:
        """Reads weights and tokenizer; see `load_bert`."""
        model, tokenizer, where = load_bert(folder, device, dtype)
        tokenizer.enable_truncation(folder.positions)
        return cls(model, tokenizer, where)

    def encode(self, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]:
        """[len(texts), dimension] float32, rows of length 1; `progress` gets the number of texts just begun."""
        windows = [
            _Window(number, part.ids)
            for number, encoding in enumerate(self._tokenizer.encode_batch(list(texts)))
            for part in (encoding, *encoding.overflowing)
        ]
        sums: NDArray[np.float32] | None = None
        seen: set[int] = set()
        for batch in _batches(windows, self._batch_tokens):
            pooled = self._token_sums(batch)
            if sums is None:
                sums = np.zeros((len(texts), pooled.shape[1]), np.float32)
            numbers = [window.text for window in batch]
            np.add.at(sums, numbers, pooled)
            progress(len(set(numbers) - seen))
            seen.update(numbers)
        if sums is None:
            raise ValueError("no texts")
        # The mean and the sum have one direction, so the division by the number of tokens falls away.
        vectors: NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors

    def encode_together(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Of each text, which is given in pieces without gaps, [pieces, dimension] float32, rows of length 1: the mean
        of the last layer over the tokens of each piece, where the model has read the whole text.

        What stands at the ends of a text, [CLS] and [SEP], belongs to the first and the last piece, so that a text of
        one piece has the vector that `encode` gives it. A text over the model's window is read in several.
        """
        encodings = self._tokenizer.encode_batch(["".join(pieces) for pieces in texts])
        windows = [
            _Window(number, part.ids, _owners(part, texts[number]))
            for number, encoding in enumerate(encodings)
            for part in (encoding, *encoding.overflowing)
        ]
        config: Any = self._model.config
        sums = [np.zeros((len(pieces), config.hidden_size), np.float32) for pieces in texts]
        for batch in _batches(windows, self._batch_tokens):
            hidden, _ = self._last_layer(batch)
            for window, states in zip(batch, hidden.cpu().numpy(), strict=True):
                np.add.at(sums[window.text], window.owners, states[: len(window.tokens)])
        for pieces, found in zip(texts, sums, strict=True):
            for number in np.flatnonzero(~found.any(axis=1)):  # a piece of which the tokenizer makes nothing
                found[number] = self.encode([pieces[number]], lambda _done: None)[0]
        return [found / np.linalg.norm(found, axis=1, keepdims=True) for found in sums]

    def _token_sums(self, batch: Sequence[_Window]) -> NDArray[np.float32]:
        """[len(batch), dimension]: the last layer summed over each window's tokens."""
        hidden, mask = self._last_layer(batch)
        pooled: NDArray[np.float32] = (hidden * mask.unsqueeze(-1)).sum(dim=1).cpu().numpy()
        return pooled

    def _last_layer(self, batch: Sequence[_Window]) -> tuple[torch.Tensor, torch.Tensor]:
        """[len(batch), longest, dimension] float32, and which of that are tokens, [len(batch), longest]."""
        import torch

        lengths = [len(window.tokens) for window in batch]
        ids = torch.zeros(len(batch), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(batch):
            ids[row, : lengths[row]] = torch.tensor(window.tokens)
            mask[row, : lengths[row]] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        with torch.inference_mode():
            hidden: torch.Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return hidden, mask


def _owners(encoding: Any, pieces: Sequence[str]) -> NDArray[np.intp]:
    """[tokens]: the number of the piece that each token begins in."""
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = np.array([start for start, _ in encoding.offsets])
    owners = np.minimum(np.searchsorted(ends, starts, side="right"), len(pieces) - 1)
    real = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    if real.size:
        owners[: real[0]], owners[real[-1] + 1 :] = owners[real[0]], owners[real[-1]]
    return owners


def _batches(windows: list[_Window], most_tokens: int) -> Iterator[list[_Window]]:
    """Windows of like length together, longest first: little padding, and memory peaks at once."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: -len(window.tokens)):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch

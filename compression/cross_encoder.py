"""One pass of a small BERT over a question and a passage: how much each token is wanted, and how relevant the whole is
(Provence, arXiv 2501.16214).

The encoder is the embedder's own, which is here anyway, with low-rank weights added to it (LoRA, arXiv 2106.09685) and
two linear heads; the same class is trained (`turnout.training.pruner_fitting`) and used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ModelError
from turnout.progress import Watch
from turnout.retrieval.bert_encoder import load_bert
from turnout.retrieval.embedder_folder import EmbedderFolder

if TYPE_CHECKING:
    import torch

WEIGHTS, CARD = "pruner.safetensors", "card.json"
HEADS = ("keep", "relevance")
QUESTION_TOKENS = 64
"""Of a longer question, those are read: what is asked stands at its beginning, or is short."""

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 2048, 65_536


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one passage that are read at once.

    Attributes:
        passage: its number.
        first: number of its first token in the passage.
    """

    passage: int
    first: int
    tokens: list[int]


class CrossEncoder:
    """The encoder with its heads.

    Args:
        model: BERT, in evaluation mode.
        heads: name -> (weight [1, hidden], bias [1]).
    """

    def __init__(
        self, model: Any, tokenizer: Any, heads: dict[str, tuple[torch.Tensor, torch.Tensor]], device: str
    ) -> None:
        self._model, self._tokenizer, self._heads, self._device = model, tokenizer, heads, device
        self._positions = int(model.config.max_position_embeddings)
        self.batch_tokens = CPU_BATCH_TOKENS if device == "cpu" else GPU_BATCH_TOKENS

    @classmethod
    def load(cls, folder: EmbedderFolder, weights: Path, device: str | None, dtype: str) -> CrossEncoder:
        """Reads the encoder and adds the trained weights.

        Args:
            weights: folder with WEIGHTS and CARD.

        Raises:
            ModelError: a file is missing or damaged, or the weights were trained on another encoder.
            MissingExtraError: torch, transformers or tokenizers is not installed.
        """
        model, tokenizer, where = load_bert(folder, device, "float32")
        import torch

        found, scale = _read(weights)
        heads = {}
        try:
            with torch.inference_mode():
                for name in HEADS:
                    heads[name] = (found.pop(f"{name}.weight").float(), found.pop(f"{name}.bias").float())
                for name in sorted({key.rpartition(".lora_")[0] for key in found}):
                    down, up = found[f"{name}.lora_A.weight"].float(), found[f"{name}.lora_B.weight"].float()
                    model.get_submodule(name).weight += up.to(where) @ down.to(where) * scale
        except (KeyError, AttributeError, RuntimeError) as error:
            raise ModelError(
                f"the weights in {weights} do not fit the encoder in {folder.path}: {error}",
                hint="use them with the embedder that they were trained on, or train others: turnout train pruner",
            ) from error
        kind = getattr(torch, dtype)
        model = model.to(kind)
        return cls(
            model, tokenizer, {name: (w.to(where, kind), b.to(where, kind)) for name, (w, b) in heads.items()}, where
        )

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text without marks, and the characters [start, end) of each."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def scores(
        self,
        question: Sequence[int],
        passages: Sequence[Sequence[int]],
        cuts: Sequence[Sequence[int]],
        watch: Watch | None = None,
    ) -> tuple[list[NDArray[np.float32]], list[float]]:
        """How much each token of each passage is wanted, and how relevant each passage is, all from 0 to 1.

        Args:
            question, passages: token ids.
            cuts: of each passage, the token numbers at which it may be cut where it is too long to be read at once.

        Raises:
            Cancelled: the watch said so before a pass.
        """
        watch = watch or Watch()
        asked = list(question[: min(QUESTION_TOKENS, self._positions // 2)])
        room = self._positions - len(asked) - 3
        pieces = [
            Piece(number, first, list(tokens[first:last]))
            for number, tokens in enumerate(passages)
            for first, last in pieces_of(len(tokens), cuts[number], room)
        ]
        keep = [np.zeros(len(tokens), np.float32) for tokens in passages]
        relevance = [0.0] * len(passages)
        for batch in _batches(pieces, len(asked) + 3, self.batch_tokens):
            watch.go_on()
            for piece, (wanted, whole) in zip(batch, self._pass(asked, batch), strict=True):
                keep[piece.passage][piece.first : piece.first + len(piece.tokens)] = wanted
                relevance[piece.passage] = max(relevance[piece.passage], whole)
        return keep, relevance

    def _pass(self, question: list[int], batch: Sequence[Piece]) -> Iterator[tuple[NDArray[np.float32], float]]:
        import torch

        inputs = tensors(question, [piece.tokens for piece in batch], self._tokenizer)
        with torch.inference_mode():
            hidden = self._model(**{name: each.to(self._device) for name, each in inputs.items()}).last_hidden_state
            keep = torch.nn.functional.linear(hidden, *self._heads["keep"])[..., 0].float().sigmoid().cpu().numpy()
            whole = torch.nn.functional.linear(hidden[:, 0], *self._heads["relevance"])[..., 0].float().sigmoid()
        begin = len(question) + 2
        for row, piece in enumerate(batch):
            yield keep[row, begin : begin + len(piece.tokens)], float(whole[row])


def tensors(question: Sequence[int], passages: Sequence[Sequence[int]], tokenizer: Any) -> dict[str, torch.Tensor]:
    """What BERT reads, each [passages, length]: [CLS] question [SEP] passage [SEP], padded at the end."""
    import torch

    cls, sep = (tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
    rows = [[cls, *question, sep, *passage, sep] for passage in passages]
    width = max(map(len, rows))
    ids, types, mask = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        types[place, len(question) + 2 : len(row)] = 1
        mask[place, : len(row)] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def pieces_of(length: int, cuts: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """[first, last) of pieces of at most `room` tokens, cut where that is allowed, else where they are full."""
    first = 0
    while length - first > room:
        allowed = [cut for cut in cuts if first < cut <= first + room]
        last = allowed[-1] if allowed else first + room
        yield first, last
        first = last
    if length > first:
        yield first, length


def _batches(pieces: Sequence[Piece], more: int, most_tokens: int) -> Iterator[list[Piece]]:
    """Pieces of like length together: little padding."""
    batch: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.tokens)):
        if batch and (len(batch[0].tokens) + more) * (len(batch) + 1) > most_tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def read_card(weights: Path) -> dict[str, Any]:
    """What the card of trained weights says.

    Raises:
        ModelError: it is damaged.
    """
    try:
        card = json.loads((weights / CARD).read_text(encoding="utf-8"))
        if not isinstance(card, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{weights / CARD} is damaged: {error}", hint="get the weights again, or remove their folder"
        ) from error
    return card


def _read(weights: Path) -> tuple[dict[str, torch.Tensor], float]:
    """The weights, and the scale of the low-rank ones."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in (WEIGHTS, CARD):
        if not (weights / name).is_file():
            raise ModelError(f"{weights / name} is missing", hint="turnout train pruner makes both files")
    card = read_card(weights)
    if not isinstance(card.get("scale"), int | float):
        raise ModelError(f"{weights / CARD} names no scale of the weights", hint="get the weights again")
    if card.get("sha256") not in (None, hashlib.sha256((weights / WEIGHTS).read_bytes()).hexdigest()):
        raise ModelError(f"{weights / WEIGHTS} are not the weights of their card", hint="get the weights again")
    try:
        found: dict[str, torch.Tensor] = load_file(weights / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights / WEIGHTS} can't be read: {error}", hint="get the weights again") from error
    return found, float(card["scale"])

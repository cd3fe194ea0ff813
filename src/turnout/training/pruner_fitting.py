"""Trains the pruner's cross-encoder: low-rank weights on the embedder's encoder, and two heads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.compression.cross_encoder import CARD, HEADS, QUESTION_TOKENS, WEIGHTS, tensors
from turnout.engines.manifest import sha256_of
from turnout.errors import MissingExtraError
from turnout.progress import Progress
from turnout.retrieval.bert_encoder import load_bert
from turnout.retrieval.embedder_folder import EmbedderFolder
from turnout.training import fitting
from turnout.training.pruner_examples import Pair
from turnout.training.tokens import batches

if TYPE_CHECKING:
    import torch

TARGETS = ["query", "key", "value", "dense"]
"""Every linear layer of a BERT block."""

BATCH_TOKENS = 2048
"""Tokens that go through the encoder at once."""

RELEVANCE_WEIGHT = 0.3
"""Of the relevance of passages in the loss, beside that of tokens."""

IGNORED = -1.0


@dataclass(frozen=True, slots=True)
class PrunerRecipe:
    """What a pruner is trained with.

    Attributes:
        examples: questions of the fold that is trained on; None takes all.
        elsewhere: share of them that a passage which does not answer is shown for too.
        rank, alpha: of the low-rank weights.
        batch_tokens: tokens a step, padding included.
        learning_rate: at its highest, after `warmup` of the steps.
        without: datasets left out, for their licence or otherwise.
    """

    examples: int | None = None
    elsewhere: float = 0.6
    rank: int = 64
    alpha: int = 64
    batch_tokens: int = 8192
    learning_rate: float = 1e-3
    warmup: float = 0.05
    seed: int = 1
    without: tuple[str, ...] = ()


class Learner:
    """Tokenises pairs and computes their loss."""

    def __init__(self, folder: EmbedderFolder, recipe: PrunerRecipe, device: str) -> None:
        """
        Raises:
            MissingExtraError: PEFT is not installed.
        """
        import torch

        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise MissingExtraError("training the pruner", "train") from error
        from turnout.training.pruner_model import PrunerModel

        encoder, self._tokenizer, self.device = load_bert(folder, device, "float32")
        self._positions = folder.positions
        torch.manual_seed(recipe.seed)
        config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=TARGETS)
        wrapped: Any = get_peft_model(encoder, config)
        self.model = PrunerModel(wrapped, folder.dimension).to(self.device)
        self._recipe = recipe

    def tokens(self, pair: Pair) -> int:
        """How long a pair is."""
        return len(self._ids(pair.question)[:QUESTION_TOKENS]) + len(self._ids(pair.passage)) + 3

    def fits(self, pair: Pair) -> bool:
        """Whether a pair can be read at once."""
        return self.tokens(pair) <= self._positions

    def collate(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """`ids` and `mask` [pairs, length] as the encoder reads them, `wanted` [pairs, length], IGNORED outside of
        the passage, and `relevant` [pairs], IGNORED where it is not known."""
        import torch

        questions = [self._ids(pair.question)[:QUESTION_TOKENS] for pair in pairs]
        passages = [self._tokenizer.encode(pair.passage, add_special_tokens=False) for pair in pairs]
        rows = [
            tensors(question, [passage.ids], self._tokenizer)
            for question, passage in zip(questions, passages, strict=True)
        ]
        width = max(row["input_ids"].shape[1] for row in rows)
        made = {
            name: torch.cat([torch.nn.functional.pad(row[name], (0, width - row[name].shape[1])) for row in rows])
            for name in rows[0]
        }
        wanted = torch.full((len(pairs), width), IGNORED)
        for place, (pair, question, passage) in enumerate(zip(pairs, questions, passages, strict=True)):
            begin = len(question) + 2
            wanted[place, begin : begin + len(passage.ids)] = torch.tensor(
                [float(any(a <= start < b for a, b in pair.wanted)) for start, _ in passage.offsets]
            )
        relevant = torch.tensor([IGNORED if pair.relevant is None else float(pair.relevant) for pair in pairs])
        return made | {"wanted": wanted, "relevant": relevant}

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def fit(
        self, pairs: Sequence[Pair], out: Path, look: Callable[[], dict[str, float]], bf16: bool, progress: Progress
    ) -> dict[str, Any]:
        """Trains on pairs that fit; goes on from the last checkpoint in `out`. See `fitting.run`."""
        lengths = np.array([self.tokens(pair) for pair in pairs])
        micro = min(BATCH_TOKENS, self._recipe.batch_tokens)
        order = list(batches(lengths, micro, self._recipe.seed))
        facts = fitting.run(
            self.model,
            fitting.Material(order, lambda indices: self.collate([pairs[i] for i in indices]), loss),
            fitting.Pace(
                self._recipe.learning_rate, self._recipe.warmup, self._recipe.batch_tokens // micro, self._recipe.seed
            ),
            out,
            self.device,
            look=look,
            bf16=bf16,
            progress=progress,
        )
        return facts | {"pairs": len(pairs), "tokens": int(lengths.sum())}

    def save(self, folder: Path, card: dict[str, Any]) -> None:
        """Writes weights in bfloat16 and the card; the folder appears whole."""
        import torch
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True)
        weights = {
            name.removeprefix("base_model.model."): tensor
            for name, tensor in get_peft_model_state_dict(self.model.encoder).items()
        }
        for head in HEADS:
            linear = getattr(self.model, head)
            weights |= {f"{head}.weight": linear.weight, f"{head}.bias": linear.bias}
        kept = {name: each.detach().to("cpu", torch.bfloat16).contiguous() for name, each in weights.items()}
        save_file(kept, partial / WEIGHTS)
        made = {"scale": self._recipe.alpha / self._recipe.rank, "sha256": sha256_of(partial / WEIGHTS)}
        (partial / CARD).write_text(json.dumps(card | made, indent=1) + "\n", encoding="utf-8")
        partial.rename(folder)


def loss(model: Any, inputs: dict[str, Any], items: Any = None) -> torch.Tensor:
    """Binary cross entropy of the passages' tokens, and of what is known of their relevance.

    Every batch counts alike in its step: batches are filled to the same number of tokens.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    wanted, relevant = inputs["wanted"], inputs["relevant"]
    keep, whole = model(inputs["input_ids"], inputs["token_type_ids"], inputs["attention_mask"])
    inside, known = wanted != IGNORED, relevant != IGNORED
    found: torch.Tensor = entropy(keep.float()[inside], wanted[inside])
    if known.any():
        found = found + RELEVANCE_WEIGHT * entropy(whole.float()[known], relevant[known])
    return found

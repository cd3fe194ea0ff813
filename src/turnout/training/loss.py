"""Batches of sheets, and the loss of their answers.

Every sheet's text is read once for all of its questions. Only positions that are learnt go through the language model
head: with a vocabulary of 49,152 the logits of a whole context would cost more than a small model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.training.tokens import IGNORED, TokenisedSheets, batches

if TYPE_CHECKING:
    import torch

PADDING = -1
"""The branch of tokens that fill up a batch, which no other token sees."""


def collate(lessons: TokenisedSheets) -> Callable[[list[int]], dict[str, Any]]:
    """Batches of sheets, padded at the end: ids, positions and labels [batch, length], and what each token sees,
    [batch, 1, length, length]; and how many tokens at the beginning all lessons of each row share."""

    def made(indices: list[int]) -> dict[str, Any]:
        import torch

        sheets = [lessons[index] for index in indices]
        shape = (len(sheets), max(len(sheet.ids) for sheet in sheets))
        ids, positions, branches = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, PADDING)
        labels = np.full(shape, IGNORED)
        for row, sheet in enumerate(sheets):
            end = len(sheet.ids)
            ids[row, :end], positions[row, :end], branches[row, :end] = sheet.ids, sheet.positions, sheet.branches
            labels[row, :end] = np.where(sheet.learnt, sheet.ids, IGNORED)
        branch = torch.from_numpy(branches)
        same = branch[:, :, None] == branch[:, None, :]
        sees = (same | (branch == 0)[:, None, :]).tril_()
        return {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "attention_mask": sees[:, None],
            "labels": torch.from_numpy(labels),
            "shared": int((branches == 0).sum(axis=1).min()),
        }

    return made


def answer_loss(model: Any, inputs: dict[str, Any], items: Any = None) -> torch.Tensor:
    """Mean cross entropy of the learnt tokens.

    Args:
        model: a PEFT model around a causal language model.
        inputs: input_ids, position_ids and labels [batch, length], attention_mask [batch, 1, length, length], and
            `shared`, see `collate`.
        items: learnt tokens of the whole step, where it is made of several batches.
    """
    import torch

    logits, labels, _ = _learnt_logits(model, inputs)
    total = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total / (len(labels) if items is None else items)


def _learnt_logits(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """([learnt, vocabulary] logits, [learnt] labels, [learnt] row of the batch) at the positions that are learnt.

    No learnt token is the first of its branch: the token before it is the one that predicts it.
    """
    causal = model.get_base_model()
    read = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    hidden = causal.base_model(**read, use_cache=False).last_hidden_state
    labels = inputs["labels"][:, 1:]
    learnt = labels != IGNORED
    logits = causal.get_output_embeddings()(hidden[:, :-1][learnt]).float()
    return logits, labels[learnt], learnt.nonzero()[:, 0]


def figures(model: Any, lessons: TokenisedSheets, micro_tokens: int) -> dict[str, float]:
    """`valid_loss`, the mean cross entropy of learnt tokens, and `valid_exact`, the share of lessons whose every learnt
    token is the most likely one: just those are written word for word when decoding is greedy. One lesson a sheet."""
    import torch

    loss = tokens = exact = 0.0
    batched = collate(lessons)
    with torch.inference_mode():
        for batch in batches(lessons.lengths, micro_tokens, seed=0):
            inputs = {
                name: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for name, value in batched(batch).items()
            }
            logits, labels, rows = _learnt_logits(model, inputs)
            loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            tokens += len(labels)
            wrong = torch.unique(rows[logits.argmax(-1) != labels])
            exact += len(batch) - len(wrong)
    return {"valid_loss": loss / max(tokens, 1), "valid_exact": exact / max(len(lessons), 1)}

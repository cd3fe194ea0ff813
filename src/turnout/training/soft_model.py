"""The reader that makes soft tokens while it learns to, and what it learns: that a frozen reader of them goes on as one
of the text does (CompLLM, arXiv 2509.19228)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import smooth_l1_loss

from turnout.engines.soft.concepts import alike, concepts, marked, pooled
from turnout.training.tokens import IGNORED, TokenisedSheets

Way = Literal["trained", "mean", "halved", "empty"]
"""What stands in place of a document: its soft tokens; means of embeddings; every so manieth token; nothing."""

WAYS: tuple[Way, ...] = ("trained", "mean", "halved", "empty")
POSITIONS = 4096
SMALLEST = 1e-6


class SoftModel(torch.nn.Module):
    """A causal language model with a PEFT adapter that is on only while soft tokens are made, and a linear layer.

    Args:
        wrapped: the PEFT model; nothing but its adapter wants a gradient.
        end: token whose embedding is the end marker.
    """

    def __init__(self, wrapped: Any, rate: int, end: int) -> None:
        super().__init__()
        self.reader = wrapped
        hidden = wrapped.get_base_model().get_input_embeddings().weight.shape[1]
        self.linear = torch.nn.Linear(hidden, hidden, bias=False)
        # Begins as the mean of embeddings, to which the layer adds nothing yet.
        torch.nn.init.zeros_(self.linear.weight)
        self.rate, self.end = rate, end

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """What is trained, and nothing of the frozen model: that is what checkpoints hold."""
        wanted = {name for name, weight in self.named_parameters() if weight.requires_grad}
        prefix = kwargs.get("prefix", "")
        return {
            name: weight
            for name, weight in super().state_dict(*args, **kwargs).items()
            if name.removeprefix(prefix) in wanted
        }

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """What `state_dict` gave; the frozen model stays as it is, and nothing counts as missing for that."""
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        if lost := sorted(set(self.state_dict()) & set(found.missing_keys)):
            raise ValueError(f"a checkpoint without {lost[0]}")
        return found._replace(missing_keys=[])

    @property
    def _causal(self) -> Any:
        return self.reader.get_base_model()

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self._causal.get_input_embeddings()(ids)
        return embedded

    def softened(self, pieces: Sequence[torch.Tensor], way: Way) -> list[torch.Tensor]:
        """What stands in place of each piece of token ids, [some, hidden]."""
        found: dict[int, torch.Tensor] = {}
        for places in alike([piece.tolist() for piece in pieces], POSITIONS, self.rate):
            ids = torch.stack([pieces[place] for place in places])
            embedded = self._embed(ids)
            for place, value in zip(places, self._values(embedded, way), strict=True):
                found[place] = value
        return [found[place] for place in range(len(pieces))]

    def _values(self, embedded: torch.Tensor, way: Way) -> torch.Tensor:
        if way == "empty":
            return embedded[:, :0]
        if way == "halved":
            return embedded[:, :: self.rate]
        if way == "mean":
            return pooled(embedded.float(), self.rate).to(embedded.dtype)
        end = self._embed(torch.tensor(self.end, device=embedded.device))
        read = self._causal.base_model(inputs_embeds=marked(embedded, end, self.rate), use_cache=False)
        outputs = read.last_hidden_state[:, embedded.shape[1] :]
        return concepts(embedded.float(), outputs.float(), self.linear.weight.float(), self.rate).to(embedded.dtype)

    def states(self, rows: Sequence[torch.Tensor], wanted: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Of each layer, the hidden states [answer tokens, hidden] from which answers are foretold, row after row, as
        the frozen reader has them.

        Args:
            rows: embeddings [length, hidden] of a prompt and its answer.
            wanted: tokens of each row's answer.
        """
        embedded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        with self.reader.disable_adapter():
            read = self._causal.base_model(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        ends = [len(row) - 1 for row in rows]
        return tuple(
            torch.cat([layer[row, end - want : end] for row, (end, want) in enumerate(zip(ends, wanted, strict=True))])
            for layer in read.hidden_states[1:]
        )

    def rows(self, inputs: dict[str, Any], way: Way | None) -> list[torch.Tensor]:
        """The embeddings of each prompt and answer; None for the text itself."""
        lengths = inputs["lengths"].tolist()
        given = [
            (ids[:n], branches[:n])
            for ids, branches, n in zip(inputs["input_ids"], inputs["branches"], lengths, strict=True)
        ]
        if way is None:
            return [self._embed(ids) for ids, _ in given]
        runs = [_runs(ids, branches) for ids, branches in given]
        soft = iter(self.softened([ids for row in runs for ids, is_piece in row if is_piece], way))
        return [torch.cat([next(soft) if is_piece else self._embed(ids) for ids, is_piece in row]) for row in runs]


def _runs(ids: torch.Tensor, branches: torch.Tensor) -> list[tuple[torch.Tensor, bool]]:
    """(token ids, whether they are a piece of the document), in order."""
    found, begin = [], 0
    for branch, members in groupby(branches.tolist()):
        end = begin + len(list(members))
        found.append((ids[begin:end], branch > 0))
        begin = end
    return found


def collate(lessons: TokenisedSheets) -> Callable[[list[int]], dict[str, Any]]:
    """Batches of lessons, padded at the end: ids, branches (the number of a token's piece, from 1; 0 outside of the
    document) and labels [batch, length], and the lengths [batch]."""

    def made(indices: list[int]) -> dict[str, Any]:
        sheets = [lessons[index] for index in indices]
        shape = (len(sheets), max(len(sheet.ids) for sheet in sheets))
        ids, branches, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, IGNORED)
        for row, sheet in enumerate(sheets):
            end = len(sheet.ids)
            ids[row, :end], branches[row, :end] = sheet.ids, sheet.branches
            labels[row, :end] = np.where(sheet.learnt, sheet.ids, IGNORED)
        return {
            "input_ids": torch.from_numpy(ids),
            "branches": torch.from_numpy(branches),
            "labels": torch.from_numpy(labels),
            "lengths": torch.tensor([len(sheet.ids) for sheet in sheets]),
        }

    return made


def distillation(model: Any, inputs: dict[str, Any], items: Any = None, way: Way = "trained") -> torch.Tensor:
    """The sum over layers of SmoothL1 between the states of a reader of soft tokens and of one of the text, over the
    standard deviation of the latter, mean over answer tokens and dimensions (CompLLM's objective).

    Args:
        model: a `SoftModel`.
        inputs: see `collate`.
        items: answer tokens of the whole step, where it is made of several batches.
    """
    wanted = (inputs["labels"] != IGNORED).sum(1).tolist()
    with torch.no_grad():
        taught = model.states(model.rows(inputs, None), wanted)
    learnt = model.states(model.rows(inputs, way), wanted)
    total: torch.Tensor = torch.zeros((), device=inputs["labels"].device)
    for ours, theirs in zip(learnt, taught, strict=True):
        apart = smooth_l1_loss(ours.float(), theirs.float(), reduction="none").mean(-1).sum()
        total = total + apart / theirs.float().std().clamp_min(SMALLEST)
    result: torch.Tensor = total / (sum(wanted) if items is None else items)
    return result


def figures(model: Any, lessons: TokenisedSheets, batches: Sequence[list[int]], way: Way) -> dict[str, float]:
    """`loss`, and `agree`: the share of the answers' tokens that a reader of what stands in place of the documents
    would write next as well, given those before."""
    total = agreed = tokens = 0.0
    batched = collate(lessons)
    device = model.linear.weight.device
    with torch.no_grad():
        for batch in batches:
            inputs = {name: value.to(device) for name, value in batched(batch).items()}
            labels = inputs["labels"][inputs["labels"] != IGNORED]
            wanted = (inputs["labels"] != IGNORED).sum(1).tolist()
            total += float(distillation(model, inputs, way=way)) * len(labels)
            last = model.states(model.rows(inputs, way), wanted)[-1]
            head = model.reader.get_base_model().get_output_embeddings()
            agreed += float((head(last).argmax(-1) == labels).sum())
            tokens += len(labels)
    return {"loss": total / max(tokens, 1), "agree": agreed / max(tokens, 1)}

"""Greedy answers to many prompts at once, for scoring a model while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

BATCH_TOKENS = {"cpu": 8192, "cuda": 262_144}
"""Prompt tokens, padding included, that are read at once."""


def generate(
    network: Any, prompts: Sequence[Sequence[int]], max_tokens: int, ends: Sequence[int], device: str
) -> Iterator[tuple[int, list[int]]]:
    """(index of the prompt, its new token ids), the shortest prompts first.

    Args:
        network: a causal language model of transformers, in evaluation mode.
        ends: the tokens that end an answer; they are not part of the result.
    """
    import torch

    most = BATCH_TOKENS[device.partition(":")[0]]
    for batch in _batches([len(prompt) for prompt in prompts], most):
        width = max(len(prompts[index]) for index in batch)
        ids = torch.full((len(batch), width), ends[0], dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(batch):
            # Padding stands in front: new tokens follow the prompt's own last one.
            ids[row, width - len(prompts[index]) :] = torch.tensor(list(prompts[index]))
            mask[row, width - len(prompts[index]) :] = 1
        with torch.inference_mode():
            made = network.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max_tokens,
                do_sample=False,
                # Some models' own settings have penalties, which the engine does not apply.
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                eos_token_id=list(ends),
                pad_token_id=ends[0],
            )
        for row, index in enumerate(batch):
            yield index, list(takewhile(lambda token: token not in ends, made[row, width:].tolist()))


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and lengths[index] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

"""How likely a model is to answer as given: the mean natural logarithm of the probability of the answer's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from turnout.errors import EngineError
from turnout.progress import Watch

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.sequence import KvSequence


def likelihood(
    prompts: Sequence[list[int]], answer: Sequence[int], refusal: int, new: Callable[[], KvSequence], watch: Watch
) -> float:
    """Of an answer after the prompt, or after that one of several after which a refusal is least likely: what
    `turnout.engines.apart` would answer from. Nats a token, 0 at most.

    Args:
        prompts: token ids, at least one.
        answer: token ids, at least one; its end is not part of it.
        refusal: the token that a refusal begins with.
        new: makes an empty sequence.

    Raises:
        EngineError: the model foretells no numbers.
        Cancelled: the watch said so after a step.
    """
    import torch

    with ExitStack() as stack:
        surest, least, foretold = None, 2.0, None
        for ids in prompts:
            sequence = stack.enter_context(new())
            logits = _after(sequence, ids, len(answer), watch)
            doubt = float(logits.softmax(-1)[refusal]) if len(prompts) > 1 else 0.0
            if surest is not None:
                (sequence if doubt >= least else surest).close()
            if surest is None or doubt < least:
                surest, least, foretold = sequence, doubt, logits
        if surest is None or foretold is None:
            raise ValueError("an answer follows a prompt")
        rows = foretold[None]
        if len(answer) > 1:
            after = surest.append(answer[:-1], logits=range(len(answer) - 1)).float()
            rows = torch.cat([rows, after])
        wanted = torch.tensor(answer, device=rows.device)[:, None]
        found = float(rows.log_softmax(-1).gather(-1, wanted).mean())
    if found != found:
        raise EngineError("the model foretells no numbers", hint="try --device cpu, or another model")
    return found


def _after(sequence: KvSequence, ids: list[int], more: int, watch: Watch) -> torch.Tensor:
    """Logits [vocabulary] after a prompt."""
    before, last = 0, None
    for read, logits in sequence.reading(ids, more=more):
        watch.read(read - max(before, sequence.reused))
        before, last = read, logits
    if last is None:
        raise ValueError("a prompt has tokens")
    return last.float()

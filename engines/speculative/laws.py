"""Which tokens of a draft are accepted, and what is written where one is not: the laws of RAPID (arXiv 2502.20330).

Sampling accepts a token y of q with probability min(1, p_hat(y) / q(y)) and else draws from a residual (arXiv
2302.01318). Lossless, p_hat is p and the residual max(p - q, 0): what is written follows p. Steered, the residual is
max(p_hat - q, 0) and whatever was not drafted is drawn from p_hat: it follows p_hat. As published, the residual is
max(p - p_hat, p - q, 0) and whatever was not drafted is drawn from p.

Greedy is the limit of low temperatures of the picks, with p, q and p_hat themselves at temperature 1: a token is
accepted where it is the best of p_hat, and what is written in its place is the best of p_hat if steered, else of p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from turnout.engines.speculative.plan import Speculation, Tail

ALPHA = 0.1
"""Share of the maximum under which steering is undone; as published."""


class Law:
    """How one answer is drafted and judged.

    Args:
        temperature: 0 is greedy.
        random: on the device of the logits.
        vocabulary: width of the target's logits. A drafter's may be narrower or wider, where one of the models is
            padded; tokens that only one has are never drafted.
    """

    def __init__(self, how: Speculation, temperature: float, random: torch.Generator, vocabulary: int) -> None:
        self._how, self._random, self._vocabulary = how, random, vocabulary
        self._is_greedy = temperature <= 0
        self._scale = 1.0 if self._is_greedy else 1 / temperature

    def draft(self, logits: torch.Tensor) -> tuple[int, torch.Tensor]:
        """A token by the drafter's logits [its vocabulary], and q [vocabulary]."""
        q = self._q(logits)
        return int(q.argmax()) if self._is_greedy else self._drawn(q), q

    def judge(self, drafted: Sequence[int], logits: torch.Tensor, q: Sequence[torch.Tensor]) -> tuple[int, int | None]:
        """(accepted, what is written after them); None where all of a draft are accepted: see `undrafted`.

        Args:
            logits: the target's, [drafted, vocabulary], which foretell the drafted tokens.
            q: of each of them.
        """
        if not drafted:
            return 0, None
        scaled, drafts = self._scaled(logits), torch.stack(list(q))
        p_hat = steered(scaled, drafts, self._how.eta, self._how.tail)
        at = torch.arange(len(drafted), device=scaled.device), torch.tensor(list(drafted), device=scaled.device)
        if self._is_greedy:
            # Of logits, not of their softmax, in which two that differ may be the same number.
            best = (p_hat if self._how.eta else scaled).argmax(-1)
            right = best == at[1]
        else:
            chance = torch.rand(len(drafted), generator=self._random, device=scaled.device)
            right = chance * drafts[at] < p_hat[at]
        accepted = [*right.tolist(), False].index(False)
        if accepted == len(drafted):
            return accepted, None
        if self._is_greedy:
            instead = scaled[accepted].argmax() if self._how.mode == "paper" else best[accepted]
            return accepted, int(instead)
        p, p_hat = torch.softmax(scaled[accepted], -1), p_hat[accepted]
        left = residual(p, p_hat, drafts[accepted], self._how)
        # Rounding may leave nothing where both all but agree.
        law = p if self._how.mode == "paper" else p_hat
        return accepted, self._drawn(left if bool(left.sum() > 0) else law)

    def undrafted(self, logits: torch.Tensor, drafter: torch.Tensor | None) -> int:
        """A token that nobody drafted, by the target's logits [vocabulary].

        Args:
            drafter: the drafter's logits after the same tokens; used where they steer.
        """
        scaled = self._scaled(logits)
        if self._how.steers and drafter is not None:
            p_hat = steered(scaled[None], self._q(drafter)[None], self._how.eta, self._how.tail)[0]
            return int(p_hat.argmax()) if self._is_greedy else self._drawn(p_hat)
        return int(scaled.argmax()) if self._is_greedy else self._drawn(torch.softmax(scaled, -1))

    def _q(self, logits: torch.Tensor) -> torch.Tensor:
        found = logits[: self._vocabulary].to(self._random.device)
        missing = self._vocabulary - len(found)
        return torch.softmax(torch.nn.functional.pad(self._scaled(found), (0, missing), value=-torch.inf), -1)

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.float() * self._scale

    def _drawn(self, weights: torch.Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self._random))


def steered(logits: torch.Tensor, q: torch.Tensor, eta: float, tail: Tail) -> torch.Tensor:
    """p_hat [rows, vocabulary]: softmax(z + eta * (q - p)), a step down the gradient of KL(q || p), but for its tail.

    Args:
        logits: z of the target at its temperature, [rows, vocabulary].
        q: [rows, vocabulary].
        tail: see `Speculation`.
    """
    p = torch.softmax(logits, -1)
    if not eta:
        return p
    shift = eta * (q - p)
    if tail == "draft":
        return torch.softmax(logits + shift.where(q >= ALPHA * q.amax(-1, keepdim=True), 0.0), -1)
    p_hat = torch.softmax(logits + shift, -1)
    p_hat = p.where(p_hat < ALPHA * p_hat.amax(-1, keepdim=True), p_hat)
    return p_hat / p_hat.sum(-1, keepdim=True)


def residual(p: torch.Tensor, p_hat: torch.Tensor, q: torch.Tensor, how: Speculation) -> torch.Tensor:
    """[vocabulary], not summed to 1: what is drawn from where a drafted token was refused."""
    if how.mode == "paper":
        return torch.maximum(p - p_hat, p - q).clamp(min=0)
    return (p_hat - q).clamp(min=0)

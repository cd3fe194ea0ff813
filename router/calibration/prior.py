"""Fits the prior of `router/quality.py`: what models of a size score with retrieval, what full context adds to that,
and how far single models lie from it.

A mixed linear model. For model m and question i with columns x_i, y_mi = x_i·(base + size_m slope + unknown_m shift
+ u_m) + noise with u_m ~ N(0, covariance). Mean and covariance are found by expectation maximisation (Laird and Ware,
Random-effects models for longitudinal data, Biometrics 38, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from turnout.router.beliefs import Beliefs, Vector

ROUNDS = 30
RIDGE = 5.0
"""Of the fixed part, in questions: keeps columns that are hardly ever seen near 0."""

START_SD = 0.1
"""Of u before anything is seen; columns without data keep it."""

START_NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Effects:
    """One outcome over the models: fixed coefficients [3, columns] (base, slope with size, shift where the size is not
    known), covariance of single models around them [columns, columns], and the variance of the noise."""

    fixed: Vector
    covariance: Vector
    noise: float

    def of_size(self, position: tuple[float, float]) -> Beliefs:
        """Beliefs about a model of which only the size is known, see `quality.size_position`."""
        return Beliefs(self.fixed[0] + position[0] * self.fixed[1] + position[1] * self.fixed[2], self.covariance)

    def to_dict(self, digits: int = 5) -> dict[str, Any]:
        """As JSON types."""
        return {
            "fixed": np.round(self.fixed, digits).tolist(),
            "covariance": np.round(self.covariance, digits).tolist(),
            "noise": round(self.noise, digits),
        }


def fit(columns: Vector, outcomes: Vector, sizes: Vector, weights: Vector) -> Effects:
    """Fits one outcome.

    Args:
        columns: of every question, [questions, columns].
        outcomes: [questions, models]; NaN where a model has none.
        sizes: of every model, [models, 2], see `quality.size_position`.
        weights: of every question, [questions], 1 in the mean.
    """
    models = [_Model.of(columns, outcomes[:, m], sizes[m], weights) for m in range(outcomes.shape[1])]
    width = columns.shape[1]
    fixed_gram = sum((model.fixed_columns.T @ model.weighted_fixed for model in models), RIDGE * np.eye(3 * width))
    covariance, noise = START_SD**2 * np.eye(width), START_NOISE
    own = [np.zeros(width) for _ in models]
    for _ in range(ROUNDS):
        # Fixed part: what the models' own parts leave.
        moment = sum(m.weighted_fixed.T @ (m.outcomes - m.columns @ u) for m, u in zip(models, own, strict=True))
        fixed = np.linalg.solve(fixed_gram, moment)
        # Each model's own part, given the fixed one and the present covariance.
        precision = np.linalg.inv(covariance)
        widths = [np.linalg.inv(model.gram / noise + precision) for model in models]
        left = [model.outcomes - model.fixed_columns @ fixed for model in models]
        own = [
            wide @ (model.columns.T @ (model.weights * rest)) / noise
            for model, wide, rest in zip(models, widths, left, strict=True)
        ]
        # The covariance and the noise that make these likeliest.
        covariance = np.mean([np.outer(u, u) + wide for u, wide in zip(own, widths, strict=True)], axis=0)
        squares = sum(
            float(model.weights @ (rest - model.columns @ u) ** 2 + np.trace(model.gram @ wide))
            for model, rest, u, wide in zip(models, left, own, widths, strict=True)
        )
        noise = squares / sum(float(model.weights.sum()) for model in models)
    return Effects(np.reshape(fixed, (3, width)), covariance, noise)


@dataclass(frozen=True, slots=True)
class _Model:
    """The questions that one model has outcomes for."""

    columns: Vector
    fixed_columns: Vector
    outcomes: Vector
    weights: Vector

    @classmethod
    def of(cls, columns: Vector, outcomes: Vector, size: Vector, weights: Vector) -> _Model:
        there = ~np.isnan(outcomes)
        x = columns[there]
        return cls(x, np.hstack([x, size[0] * x, size[1] * x]), outcomes[there], weights[there])

    @property
    def weighted_fixed(self) -> Vector:
        weighted: Vector = self.fixed_columns * self.weights[:, None]
        return weighted

    @property
    def gram(self) -> Vector:
        product: Vector = self.columns.T @ (self.columns * self.weights[:, None])
        return product

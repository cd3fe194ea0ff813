"""Gaussian beliefs about the coefficients of a linear model, and what observations make of them.

With coefficients w ~ N(mean, covariance) and an observation y = x·w + noise of known variance, the belief after it is
again Gaussian (Bishop, Pattern Recognition and Machine Learning, 2006, equations 3.50 and 3.51). So one mechanism
serves the shipped prior, a calibration of many questions and a single word of feedback; where nothing was observed the
prior stands, and its width says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is held of n coefficients: `mean` [n] and `covariance` [n, n]."""

    mean: Vector
    covariance: Vector

    def expected(self, features: ArrayLike) -> tuple[float, float]:
        """The mean of x·w and its standard deviation; noise of single observations is not in it.

        Args:
            features: x, [n].
        """
        x = np.asarray(features, dtype=float)
        return float(x @ self.mean), math.sqrt(max(float(x @ self.covariance @ x), 0.0))

    def updated(self, features: ArrayLike, observed: ArrayLike, variance: ArrayLike) -> Beliefs:
        """The beliefs after observations; in whatever order they come, the result is the same.

        Args:
            features: [rows, n].
            observed: [rows].
            variance: of the noise of each, [rows] or one number for all; over 0.
        """
        x = np.atleast_2d(np.asarray(features, dtype=float))
        y = np.asarray(observed, dtype=float)
        noise = np.broadcast_to(np.asarray(variance, dtype=float), y.shape)
        if not len(y):
            return self
        # In the space of observations: no inverse of a covariance that may be singular (a feature that is never seen).
        spread = x @ self.covariance
        gain = np.linalg.solve(spread @ x.T + np.diag(noise), spread).T
        covariance = self.covariance - gain @ spread
        return Beliefs(self.mean + gain @ (y - x @ self.mean), (covariance + covariance.T) / 2)

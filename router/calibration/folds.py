"""Folds that keep documents together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MissingExtraError


def folds(
    rows: NDArray[np.intp], groups: NDArray[np.str_], count: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(fitted on, held out) in turn; what is of one group stays together, and the folds are the same on every call.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise MissingExtraError("fitting the router anew", "eval") from error
    yield from GroupKFold(count).split(rows, groups=groups)

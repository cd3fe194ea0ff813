"""The router's own estimator, fitted without the documents it is then scored on; and what wording alone would learn.

For every fold of documents the kinds of questions and the prior are fitted anew on the other folds, by the code that
made the shipped ones (`turnout.router.calibration`); the shares that the prior is fitted on come in turn from folds
within those. So `learned` is what a model's calibration on other documents is worth, and `learned_new` what the shipped
prior is worth for a model that it has never seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turnout.router.calibration import kinds as kind_fitting
from turnout.router.calibration import prior as prior_fitting
from turnout.router.calibration.folds import folds
from turnout.router.cues import cues
from turnout.router.evaluation.routing_policies import MODELS, UNKNOWN_MODEL, Board, Matrix, signals
from turnout.router.kinds import KINDS
from turnout.router.quality import length_position, size_position

FOLDS, INNER_FOLDS = 5, 4
SEED = 0
TASKS = {"hallucination": "unanswerable"}
"""LaRA's word for a kind, where it is another."""


def learned(board: Board) -> dict[str, Matrix]:
    """Shares of full by policy, [questions, models]; empty where there are fewer documents than folds.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    groups = np.array(board.clusters)
    if len(set(groups)) < FOLDS * INNER_FOLDS:
        return {}
    gains = board.full - board.rag
    sizes = np.array([size_position(MODELS.get(model, UNKNOWN_MODEL)[0]) for model in board.models])
    features = np.array([cues(item.question) for item in board.items])
    kinds = np.array([TASKS.get(task, task) for task in board.tasks])
    lengths = np.array([[length_position(signals(i, m).fill) for m in board.models] for i in board.items])
    weights = balance(board)
    known, new, words = (np.zeros_like(board.full) for _ in range(3))
    for inside, outside in folds(np.arange(len(groups)), groups, FOLDS):
        shares = np.zeros((len(inside), len(KINDS)))
        for near, far in folds(np.arange(len(inside)), groups[inside], INNER_FOLDS):
            shares[far] = _shares(features, kinds, inside[near], inside[far])
        asked = _shares(features, kinds, inside, outside)
        for m in range(len(board.models)):
            others = np.delete(np.arange(len(board.models)), m)
            at, then = _columns(shares, lengths[inside, m]), _columns(asked, lengths[outside, m])
            alone = prior_fitting.fit(at, gains[np.ix_(inside, others)], sizes[others], weights[inside])
            new[outside, m] = then @ alone.of_size(tuple(sizes[m])).mean > 0
            there = ~np.isnan(gains[inside, m])
            noise = alone.noise / weights[inside][there]
            beliefs = alone.of_size(tuple(sizes[m])).updated(at[there], gains[inside, m][there], noise)
            known[outside, m] = then @ beliefs.mean > 0
        words[outside] = _by_words(board, gains, inside, outside)
    return {"learned": known, "learned_new": new, "wording": words}


def balance(board: Board) -> Matrix:
    """A weight for each question such that every task at every length counts alike, 1 in the mean."""
    cells = list(zip(board.tasks, board.lengths, strict=True))
    weights = np.array([1 / cells.count(cell) for cell in cells])
    balanced: Matrix = weights / weights.mean()
    return balanced


def _shares(features: Matrix, kinds: NDArray[np.str_], fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> Matrix:
    model = kind_fitting.fit_kinds(features[fitted], list(kinds[fitted]), ["lara"] * len(fitted), {})
    return np.array([model.shares(row) for row in features[asked]])


def _columns(shares: Matrix, lengths: Matrix) -> Matrix:
    return np.hstack([shares, shares * lengths[:, None]])


def _by_words(board: Board, gains: Matrix, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> Matrix:
    """Boosted trees on the words of the questions (TF-IDF of one and two words, in 60 dimensions), length and domain:
    what the wording of LaRA's own questions gives away, which users' questions will not."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer

    questions = [item.question for item in board.items]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit([questions[row] for row in fitted])
    matrix = words.transform(questions)
    dense = TruncatedSVD(min(60, matrix.shape[1] - 1), random_state=SEED).fit(matrix[fitted]).transform(matrix)
    domains = sorted({str(item.meta.get("domain", "")) for item in board.items})
    told = [
        [
            float(length == "32k"),
            np.log(item.context_chars),
            *(float(item.meta.get("domain", "") == name) for name in domains),
        ]
        for item, length in zip(board.items, board.lengths, strict=True)
    ]
    columns = np.hstack([dense, np.array(told)])
    chosen = np.zeros((len(asked), gains.shape[1]))
    for m in range(gains.shape[1]):
        usable = fitted[~np.isnan(gains[fitted, m])]
        if len(usable):
            trees = HistGradientBoostingRegressor(max_depth=3, max_iter=60, learning_rate=0.05, random_state=SEED)
            chosen[:, m] = trees.fit(columns[usable], gains[usable, m]).predict(columns[asked]) > 0
    return chosen

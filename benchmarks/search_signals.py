"""What a search before the decision adds on LaRA's questions: to telling unanswerable ones, and to the decisions.

    python benchmarks/search_signals.py [--vectors FOLDER]

The models of both are fitted without the documents that they are used on; expected quality is the
shipped prior's for each model's size. The vectors are those of `fit_prior.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import dev_data
import fit_prior
import numpy as np
import results_file
from numpy.typing import NDArray

from turnout.router import kinds, quality
from turnout.router.calibration import kinds as kind_fitting
from turnout.router.calibration.folds import folds
from turnout.router.cues import cues
from turnout.router.evaluation import routing_learned
from turnout.router.evaluation.items import read_items
from turnout.router.evaluation.routing_figures import part
from turnout.router.evaluation.routing_policies import MODELS, Board, signals

SEED = 1
Matrix = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, default=Path("runs/lara-vectors"))
    dev_data.require()
    from sklearn.metrics import roc_auc_score

    asked = read_items([fit_prior.DATA / "questions/lara.jsonl.gz"], fit_prior.raise_)
    table = fit_prior.lara_board(list(asked))
    found = list(fit_prior.searches(table, parser.parse_args().vectors))
    wording, searched = both_shares(table, np.array([each.values() for each in found]))
    none = np.array([task == "hallucination" for task in table.tasks])
    place = kinds.KINDS.index("unanswerable")
    full = {"wording": gains(table, wording), "search": gains(table, searched)}
    moved = np.abs(full["search"] - full["wording"])
    result: dict[str, Any] = {
        "questions": len(none),
        "unanswerable_auc": {
            name: round(float(roc_auc_score(none, shares[:, place])), 4)
            for name, shares in (("wording", wording), ("search", searched))
        },
        "moved": {f"p{q}": round(float(np.percentile(moved, q)), 4) for q in (50, 90, 99)},
        "choices_changed": round(float(np.mean((full["search"] > 0) != (full["wording"] > 0))), 4),
        "score": {},
    }
    for length in sorted(set(table.lengths)):
        inside = part(table, length, None, SEED)
        scores = {name: inside.scores((gain > 0).astype(float)) for name, gain in full.items()}
        result["score"][length] = {name: inside.interval(values) for name, values in scores.items()} | {
            "difference": inside.interval(scores["search"] - scores["wording"])
        }
    results_file.write("search_signals", SEED, result)


def both_shares(table: Board, found: Matrix) -> tuple[Matrix, Matrix]:
    """Shares of kinds by wording, and by wording and search, [questions, kinds] each."""
    named = [routing_learned.TASKS.get(task, task) for task in table.tasks]
    features = np.array([cues(item.question) for item in table.items])
    groups = np.array(table.clusters)
    none = np.array([kind == "unanswerable" for kind in named])
    wording, searched = np.zeros((2, len(named), len(kinds.KINDS)))

    def by_wording(at: NDArray[np.intp], of: NDArray[np.intp]) -> Matrix:
        model = kind_fitting.fit_kinds(features[at], [named[i] for i in at], ["lara"] * len(at), {})
        return np.array([model.shares(features[i]) for i in of])

    for inside, outside in folds(np.arange(len(named)), groups, routing_learned.FOLDS):
        near = np.zeros((len(inside), len(kinds.KINDS)))
        for at, of in folds(np.arange(len(inside)), groups[inside], routing_learned.INNER_FOLDS):
            near[of] = by_wording(inside[at], inside[of])
        model = kind_fitting.fit_searched(near, found[inside], none[inside])
        wording[outside] = by_wording(inside, outside)
        searched[outside] = [model.shares(wording[i], _Found(found[i])) for i in outside]
    return wording, searched


class _Found:
    """Signals of a search as their values alone."""

    def __init__(self, values: Matrix) -> None:
        self._values = values

    def values(self) -> tuple[float, ...]:
        return tuple(self._values)


def gains(table: Board, shares: Matrix) -> Matrix:
    """What full is expected to gain over rag, [questions, models]."""
    expected = np.zeros(table.full.shape)
    for column, model in enumerate(table.models):
        beliefs = quality.prior(MODELS[model][0])
        for row, item in enumerate(table.items):
            at = replace(signals(item, model), kinds=tuple(shares[row]))
            expected[row, column] = beliefs.gain("full", beliefs.columns(at)).sum()
    return expected


if __name__ == "__main__":
    main()

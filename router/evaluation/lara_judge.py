"""The published verdicts on LaRA's predictions, beside ours: does full or rag come out ahead, and by how much?

LaRA's judge model called each prediction right or wrong; the verdicts were not released, the shares of right ones were.
They are over all 2,326 questions, our data holds about half. A rule may grade one way's answers more kindly than the
other's, which a gap of the other sign than the judge's would betray.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from turnout.router.evaluation.routing_figures import DIGITS, Part

_TASKS = ("location", "reasoning", "comparison", "hallucination")

# LaRA's main table (arXiv 2502.09977): percent right, full and rag for each of _TASKS. Of its eleven models, the ten
# that are among the predictions.
_PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "32k": {
        "llama-3.1-8b": (77.60, 73.85, 51.65, 46.59, 58.29, 38.06, 78.80, 83.73),
        "llama-3.2-3b": (69.11, 71.08, 36.60, 34.88, 31.10, 25.02, 65.13, 79.71),
        "llama-3.3-70b": (77.50, 79.83, 66.43, 57.23, 65.33, 53.13, 73.59, 86.62),
        "qwen2.5-7b-instruct": (78.10, 73.70, 51.30, 48.63, 62.35, 43.79, 76.42, 84.36),
        "qwen2.5-72b-instruct": (83.29, 81.63, 74.06, 65.24, 68.89, 49.24, 85.08, 83.76),
        "mistral-nemo": (54.45, 72.38, 29.81, 45.74, 29.02, 43.63, 35.27, 71.70),
        "gpt-4o": (86.33, 82.55, 75.48, 68.51, 79.66, 46.56, 72.30, 78.39),
        "gpt-4o-mini": (79.92, 77.69, 77.65, 62.23, 73.91, 54.48, 52.82, 67.17),
        "claude-3-5-sonnet-20241022": (85.82, 83.10, 70.42, 66.81, 66.28, 51.38, 86.12, 90.99),
        "gemini-1.5-pro": (78.94, 74.71, 64.68, 53.50, 77.34, 56.43, 84.58, 88.03),
    },
    "128k": {
        "llama-3.1-8b": (72.64, 72.65, 48.48, 47.73, 40.87, 22.27, 58.40, 78.36),
        "llama-3.2-3b": (60.96, 68.96, 33.99, 38.86, 24.54, 20.20, 52.06, 69.45),
        "llama-3.3-70b": (74.54, 78.11, 52.98, 59.05, 43.09, 26.69, 44.00, 77.67),
        "qwen2.5-7b-instruct": (68.94, 74.08, 44.69, 50.93, 39.51, 29.17, 42.52, 71.02),
        "qwen2.5-72b-instruct": (76.10, 78.92, 65.25, 64.37, 54.62, 36.10, 64.45, 71.32),
        "mistral-nemo": (23.44, 72.29, 14.87, 50.53, 7.77, 32.59, 14.77, 57.92),
        "gpt-4o": (87.70, 82.22, 79.35, 70.26, 64.74, 40.84, 56.34, 67.33),
        "gpt-4o-mini": (79.86, 80.43, 67.80, 65.15, 65.31, 41.29, 32.08, 59.31),
        "claude-3-5-sonnet-20241022": (85.44, 80.94, 73.79, 64.81, 58.35, 33.18, 77.64, 84.73),
        "gemini-1.5-pro": (82.15, 75.41, 67.97, 48.47, 61.67, 36.54, 66.16, 78.60),
    },
}


def judge_gaps(part: Part, length: str) -> dict[str, Any]:
    """By task, the mean of full - rag over the models whose verdicts were published: by our rules and by the judge.

    Args:
        part: the questions of one length, over all models.

    Returns:
        {task: {models, rules {mean, low, high}, judge}}; a task that the table does not have is left out, as is every
        task where no model is in both.
    """
    published = _PUBLISHED.get(length, {})
    columns = [column for column, model in enumerate(part.board.models) if model in published]
    gaps = (part.board.full - part.board.rag)[part.rows][:, columns]
    answered = ~np.isnan(gaps).all(axis=1)
    found = {}
    for place, task in enumerate(_TASKS):
        inside = answered & (part.tasks == task)
        if not inside.any():
            continue
        judged = [published[part.board.models[column]][2 * place : 2 * place + 2] for column in columns]
        means = np.zeros(len(gaps))
        means[inside] = np.nanmean(gaps[inside], axis=1)
        found[task] = {
            "models": len(columns),
            "rules": part.interval(means, inside),
            "judge": round(float(np.mean([full - rag for full, rag in judged])) / 100, DIGITS),
        }
    return found

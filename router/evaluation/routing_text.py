"""The routing evaluation on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnout.router.evaluation.lara_checks import RIGHT
from turnout.router.evaluation.report_text import columns, number

_MODEL_TABLE = ("full", "rag", "router", "task_rule", "attainable", "oracle")


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result of `routing.evaluate`: all models by length and task, each model, and how far to trust it."""
    counts = result["counts"]
    text = [
        f"LaRA's predictions  {counts['questions']:,} questions  {counts['documents']} documents  "
        f"{counts['models']} models  {counts['pairs']:,} pairs of answers  seed {result['seed']}"
    ]
    for name, entry in result["lengths"].items():
        text += ["", f"{name}  {entry['questions']} questions, {entry['documents']} documents, mean over models"]
        text += columns(_policies(entry)) + _verdict(entry)
    for name in result["lengths"]:
        text += ["", f"{name}  score by model", *columns(_models(result["models"], name))]
    return [*text, "", *_grading(result["grading"]), *_notes(result)]


def _policies(entry: Mapping[str, Any]) -> list[Sequence[str]]:
    tasks = sorted({task for policy in entry["policies"].values() for task in policy["tasks"]})
    rows: list[Sequence[str]] = [("", "score [95%]", "regret [95%]", "F1", "prompt", "full", *tasks)]
    for name, policy in entry["policies"].items():
        by_task = (f"{policy['tasks'][task]['score']['mean']:.3f}" for task in tasks)
        rows.append((name, _fine(policy["score"]), _fine(policy["regret"]), *_costs(policy), *by_task))
    return rows


def _costs(policy: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{policy['token_f1']:.3f}", f"{policy['prompt_tokens']:,.0f}", f"{policy['full_share']:.0%}"


def _fine(values: Mapping[str, float], form: str = ".3f") -> str:
    return f"{values['mean']:{form}} [{values['low']:.3f}, {values['high']:.3f}]"


def _verdict(entry: Mapping[str, Any]) -> list[str]:
    """The router against the better single arm and against LaRA's rule."""
    said = []
    for other in dict.fromkeys((entry["best_single"], "task_rule")):
        gap = entry["differences"][other]
        apart = "told apart" if gap["low"] > 0 or gap["high"] < 0 else "not told apart"
        best = " (best single)" if other == entry["best_single"] else ""
        said.append(f"  router against {other}{best}: {_fine(gap, '+.3f')}, {apart}")
    return said


def _models(models: Mapping[str, Any], length: str) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("", "n", *_MODEL_TABLE, "router's regret [95%]", "took full", "prompt")]
    for model, lengths in models.items():
        policies = lengths[length]["policies"]
        if not policies:
            continue
        scores = (f"{policies[name]['score']['mean']:.3f}" for name in _MODEL_TABLE)
        _, prompt, share = _costs(policies["router"])
        regret = _fine(policies["router"]["regret"])
        rows.append((model, str(lengths[length]["questions"]), *scores, regret, share, prompt))
    return rows


def _grading(grading: Mapping[str, Any]) -> list[str]:
    text = []
    checked = grading["hand_checked"]
    if checked:
        by_task = ", ".join(f"{task} {entry['agreement']:.2f}" for task, entry in checked["tasks"].items())
        text.append(
            f"grading     agrees with {checked['agreement']:.0%} of {checked['cases']} verdicts of a reader "
            f"(kappa {number(checked['kappa'])}): {by_task}"
        )
        text += _threshold(checked["gold_recall"])
    if grading["stored"]:
        f1, recall = grading["stored"]["token_f1"], grading["stored"]["gold_recall"]
        text.append(
            f"            with the scores in the file: token F1 correlates {number(f1['correlation'], '.3f')}, "
            f"gold recall {number(recall['correlation'], '.3f')}"
        )
    return text


def _threshold(recall: Mapping[str, Any] | None) -> list[str]:
    """How well gold recall tells right from wrong, and whether another threshold than ours would do better."""
    if recall is None:
        return []
    agrees = f"right from {RIGHT:.2f} on agrees {recall['agreement']:.2f}"
    if recall["thresholds"]:
        tried = f"{min(recall['thresholds']):.2f} to {max(recall['thresholds']):.2f}"
        agrees += f", from a threshold chosen on other cases ({tried}) {recall['cross_validated']:.2f}"
    return [f"            gold recall on {recall['cases']}: AUC {number(recall['auc'])}; {agrees}"]


def _notes(result: Mapping[str, Any]) -> list[str]:
    width = max(map(len, result["policies"]))
    text = [f"{name:<{width}}  {what}" for name, what in result["policies"].items()]
    text.append("caveat: router and task_rule were read off LaRA's published table, which rests on these questions too")
    counts = result["counts"]
    if counts["unusable_lines"]:
        text.append(f"left out: {counts['unusable_lines']} lines, the first: {counts['first_unusable'][0]}")
    if counts["without_other_mode"]:
        text.append(f"left out: {counts['without_other_mode']} predictions without one in the other mode")
    return text

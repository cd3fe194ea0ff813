"""The routing evaluation on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnout.router.evaluation.attainable import FOLDS
from turnout.router.evaluation.lara import WAYS
from turnout.router.evaluation.lara_checks import RIGHT
from turnout.router.evaluation.report_text import columns, number
from turnout.router.evaluation.routing_policies import CUT_TOKENS

_MODEL_TABLE = ("full", "rag", "router", "router_remote", "task_rule", "attainable", "oracle")


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result of `routing.evaluate`: all models by length and task, each model, and how far to trust it."""
    counts = result["counts"]
    text = [
        f"LaRA's predictions  {counts['questions']:,} questions  {_documents(counts)}  "
        f"{counts['models']} models  {counts['pairs']:,} pairs of answers  seed {result['seed']}"
    ]
    for name, entry in result["lengths"].items():
        text += ["", f"{name}  {entry['questions']} questions, {_documents(entry)}, mean over models and tasks"]
        text += columns(_policies(entry)) + _cut(entry) + _verdict(entry)
    for name in result["lengths"]:
        text += ["", f"{name}  score by model", *columns(_models(result, name))]
    return [*text, "", *_grading(result["grading"]), *_notes(result)]


def _documents(entry: Mapping[str, Any]) -> str:
    """73 documents in 65 groups"""
    grouped = f" in {entry['groups']} groups" if entry["groups"] < entry["documents"] else ""
    return f"{entry['documents']} documents{grouped}"


def _policies(entry: Mapping[str, Any]) -> list[Sequence[str]]:
    tasks = sorted({task for policy in entry["policies"].values() for task in policy["tasks"]})
    rows: list[Sequence[str]] = [("", "score [95%]", "regret [95%]", "F1", "prompt", "full", *tasks)]
    for name, policy in entry["policies"].items():
        by_task = (f"{policy['tasks'][task]['score']['mean']:.3f}" for task in tasks)
        mark = "*" if name == "full" and entry["full_cut"] else ""
        rows.append((name + mark, _fine(policy["score"]), _fine(policy["regret"]), *_costs(policy), *by_task))
    return rows


def _cut(entry: Mapping[str, Any]) -> list[str]:
    if not entry["full_cut"]:
        return []
    return [
        f"  * cut in the middle to {CUT_TOKENS:,} tokens on {entry['full_cut']} of {entry['questions']} questions "
        f"(estimated), there too where another policy takes full"
    ]


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


def _models(result: Mapping[str, Any], length: str) -> list[Sequence[str]]:
    names = [name for name in _MODEL_TABLE if name in result["policies"]]
    rows: list[Sequence[str]] = [("", "n", *names, "router's regret [95%]", "took full", "prompt")]
    for model, lengths in result["models"].items():
        policies = lengths[length]["policies"]
        if not policies:
            continue
        scores = (f"{policies[name]['score']['mean']:.3f}" for name in names)
        _, prompt, share = _costs(policies["router"])
        regret = _fine(policies["router"]["regret"])
        rows.append((model, str(lengths[length]["questions"]), *scores, regret, share, prompt))
    return rows


def _grading(grading: Mapping[str, Any]) -> list[str]:
    text = []
    checked = grading["hand_checked"]
    if checked:
        text.append(
            f"grading     agrees with {checked['agreement']:.0%} of {checked['cases']} verdicts of a reader; "
            f"bias: share right by the rules, less that by the reader"
        )
        text += columns(_agreement(checked), indent=" " * 12)
        text += _threshold(checked["gold_recall"])
    if grading["stored"]:
        f1, recall = grading["stored"]["token_f1"], grading["stored"]["gold_recall"]
        text.append(
            f"            with the scores in the file: token F1 correlates {number(f1['correlation'], '.3f')}, "
            f"gold recall {number(recall['correlation'], '.3f')}"
        )
    return text + _judge(grading["judge_gaps"])


def _agreement(checked: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("", "n", "agrees", "kappa [95%]", "bias", "of full", "of rag")]
    for name, entry in {"all": checked, **checked["ways"], **checked["tasks"]}.items():
        within = (
            f"{entry['ways'][way]['bias']:+.2f}" if way in entry.get("ways", {}) else "-" for way in WAYS.values()
        )
        spread = entry["kappa_interval"]
        kappa = f"{entry['kappa']:z.2f} [{spread['low']:z.2f}, {spread['high']:z.2f}]" if spread else "-"
        rows.append((name, str(entry["cases"]), f"{entry['agreement']:.2f}", kappa, f"{entry['bias']:+.2f}", *within))
    return rows


def _judge(gaps: Mapping[str, Any]) -> list[str]:
    """Full - rag by our rules beside the published judge's, and where they disagree on which is ahead."""
    models = max((entry["models"] for tasks in gaps.values() for entry in tasks.values()), default=0)
    if not models:
        return []
    rows: list[Sequence[str]] = [("", "task", "rules [95%]", "judge")]
    warned = []
    for length, tasks in gaps.items():
        for task, entry in tasks.items():
            rules, judge = entry["rules"], entry["judge"]
            rows.append((length, task, _fine(rules, "+.3f"), f"{judge:+.3f}"))
            if rules["mean"] * judge < 0:
                warned.append(f"{task} at {length} ({rules['mean']:+.3f}, judge {judge:+.3f})")
    text = [f"judge       full - rag by these rules and by LaRA's judge, on the {models} models in both"]
    text += columns(rows, indent=" " * 12)
    if warned:
        text.append(f"caveat: the judge sees the other way ahead on {', '.join(warned)}")
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
    text.append(
        "caveat: the router's prior is fitted on these predictions, task_rule on LaRA's table of them; learned is not"
    )
    if "attainable" not in result["policies"]:
        text.append(f"attainable is left out: it takes 2 models and {FOLDS} documents to predict from")
    if not result["grouped"]:
        text.append(
            "documents were told apart by their ids alone: where texts share parts, the intervals are too narrow"
        )
    counts = result["counts"]
    if counts["unusable_lines"]:
        text.append(f"left out: {counts['unusable_lines']} lines that can't be used")
    if counts["without_other_mode"]:
        text.append(f"left out: {counts['without_other_mode']} predictions without one in the other mode")
    return text

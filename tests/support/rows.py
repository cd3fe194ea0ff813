"""Evaluation rows that no model made: single ones to set by hand, and whole runs that look like measured ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Dataset -> tasks, answer type and the range of context tokens, as in the evaluation data.
DATASETS: Mapping[str, tuple[tuple[str, ...], str, tuple[int, int]]] = {
    "squad": (("location", "location", "hallucination"), "extractive", (4_000, 20_000)),
    "covidqa": (("location",), "extractive", (900, 16_000)),
    "hotpotqa_multidoc": (("reasoning", "comparison"), "extractive", (4_000, 64_000)),
    "nq_multidoc": (("location",), "extractive", (2_000, 65_000)),
    "fairytaleqa": (("location", "reasoning"), "abstractive", (400, 7_800)),
    "tatqa": (("reasoning",), "number", (400, 1_500)),
    "contractnli": (("reasoning", "hallucination"), "choice", (800, 8_000)),
    "evidence_inference": (("comparison",), "choice", (400, 16_000)),
    "qmsum": (("summarisation",), "abstractive", (1_900, 30_000)),
    "squality": (("summarisation",), "abstractive", (4_400, 9_500)),
}
WINDOW = 8192


def facts(**changes: Any) -> dict[str, Any]:
    """A run.json."""
    return {
        "schema": 1,
        "turnout": "0.1.0",
        "created": "2026-11-22 10:00:00",
        "finished": "2026-11-22 11:30:00",
        "command": "turnout eval run --set dev300 --out runs/dev",
        "model": {"name": "small-model", "fingerprint": "f1", "window": WINDOW, "parameters": 135_000_000},
        "device": "Some CPU, 2 cores, 24 GiB",
        "cores": 2,
        "versions": {"python": "3.12.1", "torch": "2.13"},
        "seed": 1,
        "cache": "cold",
        "parallel": 1,
        "set": "dev300",
        "limit": None,
        "budget": {"max_ttft_s": None, "max_prompt_tokens": None, "optimize": "quality"},
        "strategies": ["router", "full", "rag"],
        "questions": 0,
        "documents": 0,
        "malformed": 0,
        "inputs": ["0123456789abcdef"],
        "profile": {"measured": "2026-11-21", "per_token_s": 0.001},
        "overhead": {"wall_s": 5000.0, "engine_s": 4800.0, "rows_s": 4900.0, "harness_s": 100.0, "harness_share": 0.02},
    } | changes


def row(question_id: str, strategy: str, score: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    """One row; `usage` is merged into sensible figures, everything else replaced."""
    usage = {
        "prompt_tokens": 1000,
        "cached_tokens": 0,
        "soft_tokens": 0,
        "completion_tokens": 20,
        "first_token_s": 0.9,
        "ttft_s": 1.0,
        "total_s": 2.0,
        "load_s": 0.0,
        "index_s": 0.0,
        "peak_memory_bytes": 2**30,
        "cost": 2.0,
        "acceptance_rate": None,
        "attempts": [],
    } | changes.pop("usage", {})
    return {
        "question_id": question_id,
        "dataset": "squad",
        "task": "location",
        "answer_type": "extractive",
        "strategy": strategy,
        "score": score,
        "metric": "f1",
        "metrics": {},
        "answer": "",
        "abstained": False,
        "citations": {
            "given": 1,
            "found": 1,
            "supported": None,
            "quoted": 1,
            "quoted_found": 1,
            "quoted_supported": None,
        },
        "usage": usage,
        "predicted": {"ttft_s": 1.0, "total_s": 2.0, "prompt_tokens": 1000, "quality": 0.5},
        "decision_id": "d1",
        "truncated": False,
        "fallback": None,
        "error": None,
        "context_tokens": 1500,
        "cluster": question_id,
    } | changes


def write_run(folder: Path, rows: Iterable[Mapping[str, Any]], **changes: Any) -> Path:
    """A run's folder with these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = list(rows)
    known = {
        "questions": len({line["question_id"] for line in lines}),
        "documents": len({line["cluster"] for line in lines}),
    }
    (folder / "run.json").write_text(json.dumps(facts(**(known | changes))), encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def realistic(questions: int = 30, seed: int = 1, strategies: tuple[str, ...] = ("extract",)) -> list[dict[str, Any]]:
    """Rows of router, full, rag, closed, self_route and more strategies over ten datasets."""
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    for dataset, (tasks, answer_type, (shortest, longest)) in DATASETS.items():
        for number in range(questions):
            about = {
                "dataset": dataset,
                "task": draw.choice(tasks),
                "context_tokens": int(shortest * (longest / shortest) ** draw.random()),
                "cluster": f"{dataset}-{number // 2}",
            }
            unanswerable = about["task"] == "hallucination" and answer_type != "choice"
            about["answer_type"] = "unanswerable" if unanswerable else answer_type
            made += _question(draw, f"{dataset}-{number}", about, strategies)
    return made


def _question(
    draw: random.Random, question_id: str, about: dict[str, Any], more: tuple[str, ...]
) -> list[dict[str, Any]]:
    tokens, task = about["context_tokens"], about["task"]
    hard = draw.gauss(0, 0.25)
    skill = {
        "full": 0.55 - 0.10 * max(tokens / WINDOW - 0.5, 0) + (0.1 if task in ("comparison", "summarisation") else 0),
        "rag": 0.50 - (0.12 if task in ("comparison", "summarisation") else 0),
        "closed": 0.15,
    } | dict.fromkeys(more, 0.47)
    rows = {}
    for strategy, mean in skill.items():
        prompt = {"full": min(tokens, WINDOW - 48), "closed": 40}.get(strategy, min(tokens, 1200))
        per_token = 0.0008 * (2 if strategy in more else 1)
        ttft = prompt * per_token * draw.lognormvariate(0, 0.15) + 0.1
        total = ttft + 0.4 + draw.random()
        given = draw.randint(0, 2) if strategy != "closed" else 0
        found = sum(draw.random() < 0.85 for _ in range(given))
        rows[strategy] = row(
            question_id,
            strategy,
            _score(draw.gauss(mean - hard, 0.2), about["answer_type"]),
            abstained=draw.random() < (0.6 if about["answer_type"] == "unanswerable" else 0.1),
            citations={
                "given": given,
                "found": found,
                "supported": found // 2 if task == "location" else None,
                "quoted": given,
                "quoted_found": found,
                "quoted_supported": found // 2 if task == "location" else None,
            },
            usage={"prompt_tokens": prompt, "ttft_s": ttft, "total_s": total, "cost": total, "first_token_s": ttft},
            predicted={
                "ttft_s": None if strategy == "closed" else prompt * per_token + 0.1,
                "total_s": total * 0.95,
                "prompt_tokens": prompt,
                "quality": 0.5,
            },
            truncated=strategy == "full" and tokens > WINDOW - 48,
            **about,
        )
    choice = "full" if tokens < WINDOW / 2 or (task == "comparison" and tokens < WINDOW - 48) else "rag"
    rows["router"] = rows[choice] | {"strategy": "router", "chosen": choice, "decide_s": 0.01}
    rows["self_route"] = rows["full" if rows["rag"]["abstained"] else "rag"] | {"strategy": "self_route"}
    return list(rows.values())


def _score(value: float, answer_type: str) -> float:
    if answer_type in ("choice", "unanswerable", "number"):
        return float(value > 0.5)
    return round(min(max(value, 0.0), 1.0), 3)

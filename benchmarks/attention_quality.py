"""What an attention policy costs in answers: `full` over questions with known answers, read by a policy and densely.

    python benchmarks/attention_quality.py --attention FILE [--model NAME|FOLDER] [--set dev150] [--limit N]
        [--minutes M] [--looks 4]

FILE is a calibration, or what attention_curves.py leaves in runs/: the policy that kept a mean recall of 0.95. Both
ways answer the same questions of the development data (../shared/data/dev), without an adapter: the questions of --set,
or N of them, evenly taken. Scores are paired by question, with an interval over documents. The documents of --looks
questions are read densely once more, to tell the recall and density that the policy has on them.

Rows are kept in runs/ one by one; --minutes ends a run between two questions, half of the time for each way, and the
same command goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file
from numpy.typing import NDArray

from turnout import evaluate
from turnout.config import ATTENTION_DENSE, NO_ADAPTER, Settings
from turnout.engines import calibrated, open_engine
from turnout.engines.local import LocalEngine
from turnout.engines.paged.policy import AttentionPolicy
from turnout.errors import ConfigurationError
from turnout.router.evaluation import inputs
from turnout.router.evaluation.compare import compare
from turnout.router.evaluation.sets import load_set

SEED = 1
RUNS = Path(__file__).parents[1] / "runs"
QUESTIONS, DOCUMENTS = ([dev_data.DATA / "dev" / part] for part in ("questions", "documents"))


class Paused(Exception):
    """The time of this run is over."""


class Alike:
    """An embedder to which all texts are alike: `full` searches nothing, and indexing by meaning takes long."""

    fingerprint = "0" * 64
    dimension = 4

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        if progress:
            progress(len(texts))
        return np.full((len(texts), self.dimension), self.dimension**-0.5, np.float32)


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    policy = calibrated.policy_of(given.attention)
    if policy.is_dense:
        raise SystemExit(f"{given.attention} holds a policy that is dense: there is nothing to compare")
    settings = Settings.load(model=given.model, adapter=NO_ADAPTER)
    name = Path(settings.model).name
    chosen = asked(given.set, given.limit)
    ways = {"dense": ATTENTION_DENSE, policy.fingerprint: str(given.attention)}
    folders = {way: RUNS / f"attention_quality_{name}_{Path(chosen).stem}_{way}" for way in ways}
    began = time.monotonic()
    for number, (way, attention) in enumerate(ways.items(), 1):
        until = began + 60 * given.minutes * number / len(ways)
        try:
            evaluate.run(
                QUESTIONS, DOCUMENTS, folders[way], strategies=("full",), question_set=chosen, progress=pausing(until),
                embedder=Alike(), model=given.model, adapter=NO_ADAPTER, attention=attention,
            )  # fmt: skip
        except Paused:
            print(f"{way}: to be gone on with", flush=True)
    dense, other = (f"{folder}:full" for folder in folders.values())
    try:
        found = compare(dense, other)
    except ConfigurationError as error:
        raise SystemExit(f"nothing to compare yet: {error}") from error
    figures = {
        "model": name,
        "policy": {"name": policy.name, "fingerprint": policy.fingerprint},
        "set": Path(chosen).stem,
        "questions": found["questions"],
        "left_out": found["left_out"],
        "score": found["score"],
        "datasets": found["datasets"],
        "ratios": found["ratios"],
        "looked": looked(settings.model, policy, chosen, given.looks),
    }
    results_file.write(f"attention_quality_{name}", SEED, figures)


def asked(question_set: str, limit: int | None) -> str:
    """The set, or a file with some of its ids, evenly taken."""
    if limit is None:
        return question_set
    if limit < 1:
        raise SystemExit(f"--limit is {limit}: give 1 or more")
    ids = load_set(question_set)
    some = [ids[place * len(ids) // limit] for place in range(min(limit, len(ids)))]
    RUNS.mkdir(exist_ok=True)
    file = RUNS / f"{Path(question_set).stem}-{len(some)}.txt"
    file.write_text("\n".join(some) + "\n", encoding="utf-8")
    return str(file)


def pausing(until: float) -> Callable[[str, int, int], None]:
    """Ends a run between two questions; at least one is answered."""

    def told(stage: str, done: int, total: int) -> None:
        if stage == "evaluating" and done < total:
            print(f"{stage} {done}/{total}", flush=True)
            if time.monotonic() > until:
                raise Paused

    return told


def looked(model: str, policy: AttentionPolicy, question_set: str, count: int) -> dict[str, Any]:
    """Mean recall and density over the documents of some questions, as long as the window holds."""
    if not count:
        return {"documents": 0}
    engine = open_engine(Settings.load(model=model, adapter=NO_ADAPTER, attention=ATTENTION_DENSE))
    assert isinstance(engine, LocalEngine)  # noqa: S101 - it has answered by a policy
    state = RUNS / f"attention_looked_{Path(model).name}_{Path(question_set).stem}_{policy.fingerprint}.jsonl"
    rows = results_file.rows(state)
    for text in texts(question_set, count)[len(rows) :]:
        rows.append(look(engine, policy, text))
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    rows = rows[:count]
    means = {
        key: float(np.average([row[key] for row in rows], weights=[row["tokens"] for row in rows]))
        for key in ("recall", "density")
    }
    return {"documents": len(rows), "tokens": sum(row["tokens"] for row in rows), **means}


def look(engine: LocalEngine, policy: AttentionPolicy, text: str) -> dict[str, Any]:
    ids = engine.tokenizer.encode_text(text)[: engine.model.window]
    chunks = engine.look(ids, [policy], repeats=1)
    tokens = np.array([each.tokens for each in chunks])
    pairs = np.array([each.tokens * (each.past + (each.tokens + 1) / 2) for each in chunks])
    return {
        "tokens": len(ids),
        "recall": float(np.average([float(each.recall.mean()) for each in chunks], weights=tokens)),
        "density": float(np.average([float(each.density.mean()) for each in chunks], weights=pairs)),
    }


def texts(question_set: str, count: int) -> Sequence[str]:
    """What evenly taken questions are asked over."""
    given = inputs.load(QUESTIONS, DOCUMENTS, lambda bad: None, question_set=question_set)
    items = [given.items[place * len(given.items) // count] for place in range(min(count, len(given.items)))]
    return ["\n\n".join(given.documents[each].text for each in item.doc_ids) for item in items]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention", type=Path, required=True, help="a policy's file")
    parser.add_argument("--model")
    parser.add_argument("--set", default="dev150")
    parser.add_argument("--limit", type=int, help="questions of the set")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--looks", type=int, default=4, help="documents that recall and density are told of")
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

"""Score against tokens kept: what compressors keep of the documents, beside no compression and plain baselines.

    python benchmarks/compression_curves.py MODEL [--set dev150 | --limit N] [--datasets NAME ...] [--questions N]
        [--minutes M] [--kept 125 250 500 1000 40%] [--thresholds 0.1 0.2 0.3 0.4 0.5] [--ways NAME ...]
        [--llmlingua FOLDER]

Every way keeps at most so many tokens of a question's documents, or such a share of them, counted by the reader:
`truncation` their beginning and end, `bm25` and `embedding` the sentences that are best by words and by meaning,
`llmlingua2` the words that a published classifier keeps (given its folder), `pruner`, `exit` and `draft` what
turnout's compressors keep. `none` keeps all. The same scorers are also held at thresholds instead, with at most what
`extract` keeps. For code there are, by name only, `code` and `code-whole` (LongCodeZip, with and without cutting
functions) beside `files` and `functions` (whole ones by BM25); --datasets swe_qa has code.

Each prompt is answered and scored as in `turnout eval run`; seconds include the compressor. A question is scanned once
for all that a scorer keeps of it, and every row pays for that scan as if it were its own. Rows are kept in runs/,
question by question; --minutes ends a run between two rows, and the same command goes on. The result is over the
questions for which every way has a row. Run it with two readers at least: what one gains another may lose.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import dev_data
import numpy as np
import results_file
from compression_ways import BASELINES, Most, Way, ways
from tqdm import tqdm

from turnout import Turnout
from turnout.documents import Document
from turnout.parts import Parts
from turnout.progress import silent
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.segment import segment
from turnout.router.evaluation import ask, inputs
from turnout.router.evaluation.items import Item, cluster
from turnout.router.evaluation.statistics import macro_interval, paired_difference
from turnout.router.request import Machinery
from turnout.types import Budget

SEED = 1
RUNS = Path(__file__).parents[1] / "runs"

Rows = dict[tuple[str, str], dict[str, Any]]
"""By question and way."""


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    asked = inputs.load(
        [dev_data.DATA / "dev/questions"],
        [dev_data.DATA / "dev/documents"],
        lambda bad: print(bad),
        limit=given.limit,
        question_set=None if given.limit else given.set,
        seed=SEED,
    )
    items = [item for item in asked.items if not given.datasets or item.dataset in given.datasets]
    Random(SEED).shuffle(items)  # noqa: S311 - so that a run that is cut is of all datasets
    asked = dataclasses.replace(asked, items=tuple(items[: given.questions]))
    with Turnout(model=given.model, log="off") as t:
        parts = t._opened()
        compared = list(ways(parts, given.kept, given.thresholds, given.ways, given.llmlingua))
        name = parts.engine.model.full_name.rpartition("/")[2].replace("+", "-")
        until = time.monotonic() + 60 * given.minutes
        rows = measured(parts, asked, compared, RUNS / f"compression_{name}.jsonl", until)
    names = [way.name for way in compared]
    done = [item for item in asked.items if all((item.id, way) in rows for way in names)]
    if not done or not names:
        raise SystemExit("no question was asked in every way: allow more --minutes, or check --ways and --datasets")
    chosen = "-".join([f"{given.limit}each" if given.limit else Path(given.set).stem, *given.datasets])
    figures = {"model": name, "set": chosen, "questions": len(done), "of": len(asked.items)}
    results_file.write(f"compression_curves_{name}_{chosen}", SEED, figures | {"ways": summary(done, rows, names)})


def measured(parts: Parts, asked: inputs.Inputs, compared: Sequence[Way], state: Path, until: float) -> Rows:
    """The rows that are there, and those that could be made until then."""
    RUNS.mkdir(exist_ok=True)
    made_with = {way.name: way.made_with for way in compared}
    rows = {
        (row["question"], row["way"]): row
        for row in results_file.rows(state)
        if made_with.get(row["way"]) == row["made_with"]
    }
    machinery = dataclasses.replace(parts.machinery(), search=None, progress=silent)
    machinery.engine.open()
    for item in tqdm(asked.items):
        missing = [way for way in compared if (item.id, way.name) not in rows]
        if not missing or time.monotonic() > until:
            continue
        prepared = ask.prepare(
            item, asked.documents, machinery, _corpus, parts.tokens, Budget(), asked.new_tokens[item.id]
        )
        for way in missing:
            if time.monotonic() > until:
                break
            row = _row(prepared, way, machinery)
            rows[item.id, way.name] = row
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return rows


def _row(prepared: ask.Asked, way: Way, machinery: Machinery) -> dict[str, Any]:
    way.noted = {}
    found, _ = ask.run_strategy(prepared, way, machinery, f"{prepared.item.id}/{way.name}")
    row = {"question": prepared.item.id, "way": way.name, "made_with": way.made_with}
    row |= {"document_tokens": prepared.request.document_tokens}
    row |= {name: found.get(name) for name in ("score", "abstained", "error")}
    if found.get("left_out"):
        row["error"] = f"over the {found['left_out']['limit']}"
    if row["error"] is not None:
        return row
    usage, noted = found["usage"], way.noted
    spared_s = noted["spared_s"]
    return row | {
        "kept_tokens": noted["kept_tokens"],
        "keep_s": round(noted["keep_s"] + spared_s, 4),
        "scanned_tokens": usage["scanned_tokens"] + noted["spared_tokens"],
        "prompt_tokens": usage["prompt_tokens"],
        "ttft_s": None if usage["ttft_s"] is None else round(usage["ttft_s"] + spared_s, 4),
        "total_s": round(usage["total_s"] + spared_s, 4),
    }


def _corpus(documents: Sequence[Document]) -> Corpus:
    return Corpus(list(documents), [each for document in documents for each in segment(document)])


def summary(items: Sequence[Item], rows: Rows, names: Sequence[str], base: str = "none") -> dict[str, Any]:
    """Of each way: score with its interval over documents, and its differences, on the questions that both answered, to
    `base` and to each of BASELINES that keeps as much; tokens kept, and as a share; seconds to first word, those of
    keeping, and these as a share of the seconds of reading that they save."""
    found: dict[str, Any] = {}
    for way in names:
        done = [item for item in items if rows[item.id, way]["error"] is None]
        mine = [rows[item.id, way] for item in done]
        found[way] = {"questions": len(done), "failed": len(items) - len(done)}
        if not done:
            continue
        found[way] |= {
            "score": dataclasses.asdict(_interval(done, [row["score"] for row in mine])),
            "kept_tokens": results_file.spread([row["kept_tokens"] for row in mine]),
            "kept_share": round(
                float(np.mean([row["kept_tokens"] / max(row["document_tokens"], 1) for row in mine])), 4
            ),
            "scanned_tokens": results_file.spread([row["scanned_tokens"] for row in mine]),
            "ttft_s": results_file.spread([row["ttft_s"] for row in mine if row["ttft_s"] is not None] or [0.0]),
            "total_s": results_file.spread([row["total_s"] for row in mine]),
            "keep_s": results_file.spread([row["keep_s"] for row in mine]),
            "tokens_per_s": round(
                sum(row["document_tokens"] for row in mine) / max(sum(row["keep_s"] for row in mine), 1e-9)
            ),
        }
        for other in _others(way, names, base):
            both = [item for item in done if rows[item.id, other]["error"] is None]
            if both:
                found[way][f"against_{other}"] = {"questions": len(both)} | dataclasses.asdict(
                    _difference(both, rows, way, other)
                )
        if base in names and way != base and (saved := _shares_of_saved(done, rows, way, base)):
            found[way]["keep_of_saved"] = results_file.spread(saved)
    return found


def _others(way: str, names: Sequence[str], base: str) -> list[str]:
    """What a way is compared with."""
    name, _, label = way.partition("@")
    same = [f"{other}@{label}" for other in BASELINES if label and other != name]
    return [other for other in [base, *same] if other in names and other != way]


def _shares_of_saved(items: Sequence[Item], rows: Rows, way: str, base: str) -> list[float]:
    """Seconds of keeping for a second less of reading the prompt, of each question where reading got shorter."""
    found = []
    for item in items:
        mine, theirs = rows[item.id, way], rows[item.id, base]
        if theirs["error"] is None and None not in (mine["ttft_s"], theirs["ttft_s"]):
            read, whole = (row["ttft_s"] - row["keep_s"] for row in (mine, theirs))
            if whole > read:
                found.append(round(mine["keep_s"] / (whole - read), 4))
    return found


def _interval(items: Sequence[Item], scores: Sequence[float]) -> Any:
    return macro_interval(scores, *_groups(items), seed=SEED)


def _difference(items: Sequence[Item], rows: Rows, way: str, other: str) -> Any:
    mine, theirs = ([rows[item.id, name]["score"] for item in items] for name in (way, other))
    return paired_difference(mine, theirs, *_groups(items), seed=SEED)


def _groups(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    return [cluster(item) for item in items], [item.dataset for item in items]


def _most(label: str) -> Most:
    most = Most(label)
    if most.tokens(1000) < 1:
        raise ValueError(label)
    return most


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--set", default="dev150", help="list of question ids in benchmarks/sets")
    parser.add_argument("--limit", type=int, help="questions per dataset, instead of a set")
    parser.add_argument("--datasets", nargs="+", default=[], help="some of them; all by default")
    parser.add_argument("--questions", type=int, help="at most so many; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    kept = [Most(label) for label in ("125", "250", "500", "1000", "40%")]
    parser.add_argument("--kept", nargs="+", default=kept, type=_most, help="tokens, or a share as 40%%")
    parser.add_argument("--thresholds", nargs="*", default=[0.1, 0.2, 0.3, 0.4, 0.5], type=float)
    parser.add_argument("--ways", nargs="+", default=[], help="some of them; all for text that can be had by default")
    parser.add_argument("--llmlingua", type=Path, help="folder of LLMLingua-2's classifier")
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

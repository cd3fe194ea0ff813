"""Score against tokens kept: what compressors keep of the documents, beside no compression and plain baselines.

    python benchmarks/compression_curves.py MODEL [--set dev150 | --limit N] [--kept 125,250,500,1000] [--ways ...]
        [--thresholds 0.1,0.2,0.3,0.4,0.5]

Every way keeps at most so many tokens of a question's documents, counted by the reader: `truncation` their beginning
and end, `bm25` and `embedding` the sentences that are best by words and by meaning, `pruner`, `exit`, `draft` and
`code` what turnout's compressors keep. `none` keeps all. The same scorers are also held at thresholds instead, with at
most what `extract` keeps. Each prompt is answered and scored as in `turnout eval run`; seconds include the compressor.
A question is scanned once for all that a scorer keeps of it, and every row pays for that scan as if it were its own.
Goes on where it was stopped: rows are kept in runs/. Run it with two readers at least: what one gains another may lose.
"""

from __future__ import annotations

import argparse
import bisect
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file
from tqdm import tqdm

from turnout import Turnout
from turnout.compression.code import CodeCompressor
from turnout.compression.draft import DraftCompressor
from turnout.compression.extractive import Extractive
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.pruner import Pruner
from turnout.compression.reader_scorer import ByReader
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.compression.selection import Target
from turnout.contracts import Compressor, Engine, RanksTokens, Surprises, UnitScorer, Weighs
from turnout.parts import Parts
from turnout.progress import Watch, silent
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.retrieval.segment import segment
from turnout.router.cost import candidate
from turnout.router.evaluation import ask, inputs
from turnout.router.evaluation.arms import ends
from turnout.router.evaluation.items import Item, cluster
from turnout.router.evaluation.statistics import macro_interval, paired_difference
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.request import Machinery
from turnout.router.signals import Signals
from turnout.router.strategies.extract import KEPT_TOKENS
from turnout.types import Budget, Candidate, Context, Document, Part, Question, Span

SEED = 1
RUNS = Path(__file__).parents[1] / "runs"


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Parts, and the seconds and tokens of a scan that another row made for this one."""

    parts: Sequence[Part]
    spared_s: float = 0.0
    spared_tokens: int = 0


Keep = Callable[[str, Corpus, Watch], Kept]


class Way:
    """A strategy that keeps parts of documents by a rule. It notes what it kept, and the seconds that took."""

    quotable = True

    def __init__(self, name: str, engine: Engine, keep: Keep) -> None:
        self.name = name
        self._engine = engine
        self._keep = keep
        self.noted: dict[str, Any] = {}

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        tokens = signals.full_tokens if self.name == "none" else signals.overhead_tokens
        return candidate(
            self.name, estimate("full", signals, profile), tokens, signals, profile, self._engine.memory_bytes
        )

    def warm(self, corpus: Corpus) -> None:
        """Nothing: what a compressor loads is loaded before the first question."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        started = time.perf_counter()
        kept = self._keep(question.standalone, corpus, watch or Watch())
        self.noted = {
            "keep_s": time.perf_counter() - started,
            "spared_s": kept.spared_s,
            "spared_tokens": kept.spared_tokens,
            "kept_tokens": sum(self._engine.count_text(part.text) for part in kept.parts),
        }
        return Context(tuple(kept.parts), question.text, question.history, question.task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--set", default="dev150")
    parser.add_argument("--limit", type=int, help="questions per dataset, instead of a set")
    parser.add_argument("--kept", default="125,250,500,1000", type=_numbers)
    parser.add_argument("--thresholds", default="0.1,0.2,0.3,0.4,0.5", type=_numbers)
    parser.add_argument("--ways", default="", help="some of them, with commas; all that can be had by default")
    given = parser.parse_args()
    dev_data.require()
    asked = inputs.load(
        [dev_data.DATA / "dev/questions"],
        [dev_data.DATA / "dev/documents"],
        lambda bad: print(bad),
        limit=given.limit,
        question_set=None if given.limit else given.set,
        seed=SEED,
    )
    with Turnout(model=given.model, log="off") as t:
        parts = t._opened()
        ways = [way for way in _ways(parts, given.kept, given.thresholds) if _wanted(way.name, given.ways)]
        name = parts.engine.model.full_name.rpartition("/")[2]
        chosen = f"{given.limit}each" if given.limit else Path(given.set).stem
        rows = measured(parts, asked, ways, RUNS / f"compression_{name}_{chosen}.jsonl")
    figures = {"model": name, "set": chosen, "ways": summary(asked.items, rows, [way.name for way in ways])}
    results_file.write(f"compression_curves_{name}_{chosen}", SEED, figures)


def _ways(parts: Parts, kept: Sequence[float], thresholds: Sequence[float]) -> Iterator[Way]:
    engine = parts.engine
    yield Way("none", engine, lambda question, corpus, watch: Kept(whole(corpus)))
    for most in map(int, kept):
        yield Way(f"truncation@{most}", engine, _truncated(engine, most))
    scorers, others = _compressors(parts)
    for name, scorer in scorers.items():
        next(scorer.score("warm", ["warm"]))  # so that no row pays for loading it
        # By words a score is one among all that are scored together.
        cache = None if isinstance(scorer, ByWords) else MemoryCache()
        scan = _Scan(Extractive(scorer, engine.count_text, cache))
        for most in map(int, kept):
            yield Way(f"{name}@{most}", engine, scan.keeping(Target(0.0, most, fill=True)))
        for threshold in thresholds:
            yield Way(f"{name}>{threshold:g}", engine, scan.keeping(Target(threshold, KEPT_TOKENS)))
    for name, compressor in others.items():
        scan = _Scan(compressor)
        for most in map(int, kept):
            yield Way(f"{name}@{most}", engine, scan.keeping(Target(max_tokens=most)))


def _compressors(parts: Parts) -> tuple[dict[str, UnitScorer], dict[str, Compressor]]:
    """Scorers of sentences, and what chooses otherwise; those that can't be had here are missing."""
    engine = parts.engine
    scorers: dict[str, UnitScorer] = {"bm25": ByWords()}
    if parts.embedder is not None:
        scorers["embedding"] = ByMeaning(parts.embedder)
    if isinstance(parts.scorer, Pruner):
        scorers["pruner"] = parts.scorer
    if isinstance(engine, Weighs):
        scorers["exit"] = ByReader(engine)
    others: dict[str, Compressor] = {}
    if isinstance(engine, RanksTokens):
        others["draft"] = DraftCompressor(engine, engine.count_text)
    if isinstance(engine, Surprises):
        others["code"] = CodeCompressor(engine, engine.count_text)
    return scorers, others


class _Scan:
    """A compressor whose scans are made once, and what the first of each question took."""

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self._first: dict[tuple[str, ...], tuple[float, int]] = {}

    def keeping(self, target: Target) -> Keep:
        def keep(question: str, corpus: Corpus, watch: Watch) -> Kept:
            by_segments = isinstance(self._compressor, Extractive)
            given = [_part(each.span, corpus) for each in corpus.segments] if by_segments else whole(corpus)
            started = time.perf_counter()
            parts = self._compressor.compress(question, given, target, watch)
            took = time.perf_counter() - started
            key = (question, *(document.id for document in corpus.documents))
            first_s, tokens = self._first.setdefault(key, (took, watch.read_tokens))
            return Kept(parts, max(first_s - took, 0.0), max(tokens - watch.read_tokens, 0))

        return keep


def _part(span: Span, corpus: Corpus) -> Part:
    return Part(corpus.text(span), span, corpus.document(span.document_id).title)


def _truncated(engine: Engine, most: int) -> Keep:
    def keep(question: str, corpus: Corpus, watch: Watch) -> Kept:
        parts = whole(corpus)
        lengths = range(sum(len(part.text) for part in parts) + 1)
        over = bisect.bisect_right(
            lengths, False, key=lambda n: sum(engine.count_text(part.text) for part in ends(parts, n)) > most
        )
        return Kept(ends(parts, over - 1))

    return keep


def measured(parts: Parts, asked: inputs.Inputs, ways: Sequence[Way], state: Path) -> dict[tuple[str, str], Any]:
    """A row for each question and way: by both."""
    RUNS.mkdir(exist_ok=True)
    lines = state.read_text("utf-8").splitlines() if state.exists() else []
    rows = {(row["question"], row["way"]): row for row in map(json.loads, lines)}
    machinery = dataclasses.replace(parts.machinery(), search=None, progress=silent)
    machinery.engine.open()
    for item in tqdm(asked.items):
        missing = [way for way in ways if (item.id, way.name) not in rows]
        if not missing:
            continue
        prepared = ask.prepare(
            item, asked.documents, machinery, _corpus, parts.tokens, Budget(), asked.new_tokens[item.id]
        )
        for way in missing:
            row = _row(prepared, way, machinery)
            rows[item.id, way.name] = row
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return rows


def _row(prepared: ask.Asked, way: Way, machinery: Machinery) -> dict[str, Any]:
    way.noted = {}
    found, _ = ask.run_strategy(prepared, way, machinery, f"{prepared.item.id}/{way.name}")
    row = {"question": prepared.item.id, "way": way.name, "document_tokens": prepared.request.document_tokens}
    row |= {name: found[name] for name in ("score", "abstained", "error")}
    if found["error"] is not None:
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


def summary(
    items: Sequence[Item], rows: dict[tuple[str, str], Any], ways: Sequence[str], base: str = "none"
) -> dict[str, Any]:
    """Of each way: score with its interval over documents, and its difference to the way `base` on the questions that
    both answered; tokens kept, and as a share; seconds to first word and those of keeping."""
    found: dict[str, Any] = {}
    for way in ways:
        done = [item for item in items if rows[item.id, way]["error"] is None]
        mine = [rows[item.id, way] for item in done]
        found[way] = {"questions": len(done), "failed": len(items) - len(done)}
        if not done:
            continue
        both = [item for item in done if rows[item.id, base]["error"] is None] if base in ways else []
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
        if both and way != base:
            mine_too, theirs = ([rows[item.id, name]["score"] for item in both] for name in (way, base))
            found[way][f"against_{base}"] = {"questions": len(both)} | dataclasses.asdict(
                paired_difference(mine_too, theirs, *_groups(both), seed=SEED)
            )
    return found


def _interval(items: Sequence[Item], scores: Sequence[float]) -> Any:
    return macro_interval(scores, *_groups(items), seed=SEED)


def _groups(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    return [cluster(item) for item in items], [item.dataset for item in items]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",") if number]


def _wanted(way: str, ways: str) -> bool:
    return not ways or way.partition("@")[0].partition(">")[0] in ways.split(",")


if __name__ == "__main__":
    main()

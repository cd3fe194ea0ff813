"""What attention policies keep of dense attention, and what they take, over real documents: recall against density,
and seconds of a whole prompt's attention, choosing included, beside dense attention.

    python benchmarks/attention_curves.py [--model NAME|FOLDER] [--lengths 4096 8192] [--limit 3] [--chunks 5]
        [--repeats 3] [--policies TEXT ...] [--minutes M] [--min-recall 0.95]

--limit documents of the development data (../shared/data/dev), of different datasets in turn, are cut to each length
and read densely; in --chunks chunks of each, from the first to the last, every policy is timed beside the engine's
dense attention and torch SDPA, in turn, --repeats times; a chunk's time is the median of its repeats. Between measured
chunks time, recall and density go in a straight line. Recall is the share of the dense softmax on the keys that are
looked at, density the share of the keys. --policies takes those whose names hold one of some texts.

Rows are kept in runs/, of a document and some policies at a time; --minutes ends a run between two of them, and the
same command goes on; so does one with other --policies or more --lengths and --limit.
Beside the result, runs/attention-MODEL.json holds the fastest policy that kept --min-recall at the longest length, for
`--attention FILE` and attention_quality.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file
import torch

from turnout.config import ATTENTION_DENSE, NO_ADAPTER, Settings
from turnout.engines import calibrated, open_engine
from turnout.engines.local import LocalEngine
from turnout.engines.paged import recall, sparse
from turnout.engines.paged.attention import Layer
from turnout.engines.paged.patterns import Antidiagonal, Lines, Mass, Observed, Pattern
from turnout.engines.paged.policy import AttentionPolicy, everywhere
from turnout.router.calibration.attention import candidates, decoding

SEED, STEPS = 1, 16
RUNS = Path(__file__).parents[1] / "runs"
DATASETS = ("squality", "lara", "qmsum", "evidence_inference", "leval", "legalbench_rag", "financebench", "covidqa")
AT_ONCE = 8
"""Policies that are measured in one reading of a document: what is kept of a run that is stopped."""
CHARS_A_TOKEN = 8
"""A text is cut to so many before it is counted."""


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    settings = Settings.load(model=given.model, adapter=NO_ADAPTER, attention=ATTENTION_DENSE)
    engine = open_engine(settings)
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{settings.model} is no local model: only those choose what they look at")
    wrong = [length for length in given.lengths if length % engine.chunk or not 0 < length <= engine.model.window]
    if wrong:
        raise SystemExit(f"{wrong[0]} tokens are not whole chunks of {engine.chunk} in {engine.model.window}")
    tried = [one for one in policies(engine.chunk) if any(part in one.name for part in given.policies or [""])]
    name = Path(settings.model).name
    RUNS.mkdir(exist_ok=True)
    state = RUNS / f"attention_curves_{name}_{engine.dtype}_{given.chunks}_{given.repeats}.jsonl"
    rows, until = results_file.rows(state), time.monotonic() + 60 * given.minutes
    for length, document, ids, some in left(engine, given, tried, rows):
        if time.monotonic() > until:
            break
        rows.append({"length": length, "document": document} | read(engine, ids, some, given.chunks, given.repeats))
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(f"{length} {document}: {len(some)} policies, {rows[-1]['wall_s']:.0f} s", flush=True)
    lengths = {
        length: of_length(mine, engine.chunk, given.min_recall)
        for length in given.lengths
        if (mine := [row for row in rows if row["length"] == length])
    }
    if not lengths:
        raise SystemExit("nothing was measured: allow more --minutes")
    longest = max(lengths)
    keep(RUNS / f"attention-{name}.json", policies(engine.chunk), longest, lengths[longest])
    results_file.write(
        f"attention_curves_{name}",
        SEED,
        {
            "model": engine.model.name,
            "dtype": engine.dtype,
            "threads": torch.get_num_threads(),
            "chunk": engine.chunk,
            "measured_chunks": given.chunks,
            "repeats": given.repeats,
            "min_recall": given.min_recall,
            "lengths": {str(length): found for length, found in lengths.items()},
        },
    )


def left(
    engine: LocalEngine, given: argparse.Namespace, tried: Sequence[AttentionPolicy], rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[int, str, list[int], list[AttentionPolicy]]]:
    """(length, document, its tokens, policies) that are not measured yet, a few policies at a time."""
    for length in given.lengths:
        for document, ids in documents(engine, length, given.limit):
            mine = [row for row in rows if (row["length"], row["document"]) == (length, document)]
            known = {name for row in mine for name in row["policies"]}
            missing = [policy for policy in tried if policy.name not in known]
            for at in range(0, len(missing), AT_ONCE):
                yield length, document, ids, missing[at : at + AT_ONCE]


def keep(file: Path, known: Sequence[AttentionPolicy], tokens: int, found: dict[str, Any]) -> None:
    """The fastest policy that kept enough, as a calibration's file."""
    best = found["fastest"]
    if best is None:
        print(f"no policy kept enough of {tokens:,} tokens: none is written", flush=True)
        return
    policy = next(one for one in known if one.name == best)
    kept = {"version": calibrated.VERSION, "policy": policy.to_dict(), "tokens": tokens, **found["policies"][best]}
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def policies(chunk: int) -> list[AttentionPolicy]:
    """Those of the calibration, and others for the ends of the curves."""
    block = 128 if chunk % 128 == 0 else 64
    more = [
        everywhere(Pattern(Mass(share), Antidiagonal(16), block=block), f"xattention {share:g}/16")
        for share in (0.5, 0.7, 0.8)
    ]
    more += [
        everywhere(Pattern(Mass(share), Antidiagonal(16), "group", block), f"xattention {share:g}/16 by group")
        for share in (0.9, 0.95)
    ]
    more += [
        everywhere(Pattern(Lines(4096, 512, newest=256, share=share), Observed(0, 64)), f"sampled {share:g}")
        for share in (0.8, 0.95)
    ]
    return [*candidates(chunk), *more]


def documents(engine: LocalEngine, length: int, limit: int) -> Iterator[tuple[str, list[int]]]:
    """Ids of documents that are long enough, and their first tokens; a dataset's shortest such ones first."""
    texts = [
        sorted(
            (each for each in dev_data.documents(name).values() if len(each["text"]) > 2 * length),
            key=lambda each: (len(each["text"]), each["doc_id"]),
        )
        for name in DATASETS
    ]
    found = 0
    for document in filter(None, chain.from_iterable(zip_longest(*texts))):
        ids = engine.tokenizer.encode_text(document["text"][: length * CHARS_A_TOKEN])[:length]
        if len(ids) == length and found < limit:
            found += 1
            yield document["doc_id"], ids
        if found == limit:
            return


def read(
    engine: LocalEngine, ids: Sequence[int], tried: Sequence[AttentionPolicy], chunks: int, repeats: int
) -> dict[str, Any]:
    """A document's row: for each measured chunk what every policy kept and took."""
    began = time.perf_counter()
    count = len(ids) // engine.chunk
    places = sorted({round(place) * engine.chunk for place in np.linspace(0, count - 1, min(chunks, count))})
    found: dict[int, Beside] = {}
    engine.admission.check(len(ids), 0)
    with engine._with_pages("show its attention", len(ids)) as session:
        sequence = session.sequence()
        try:
            for start in range(0, len(ids), engine.chunk):
                chunk = ids[start : start + engine.chunk]
                if start in places:
                    found[start] = Beside(tried, repeats)
                    session.watch(sequence, chunk, found[start])
                else:
                    session.step([(sequence, [chunk], ())], is_prompt=True)
            new = recall._steps(session, sequence, ids, STEPS, decoding())
        finally:
            sequence.close(keep=False)
    beside = list(found.values())
    return {
        "places": places,
        "dense_s": [one.seconds("dense") for one in beside],
        "sdpa_s": [one.seconds("sdpa") for one in beside],
        "policies": {
            policy.name: {
                "recall": [one.recall[policy.name] for one in beside],
                "worst": [one.worst[policy.name] for one in beside],
                "density": [one.density[policy.name] for one in beside],
                "seconds": [one.seconds(policy.name) for one in beside],
            }
            for policy in tried
        },
        "decode": {
            each.policy.name: {
                "recall": float(each.recall.mean()),
                "worst": float(each.recall.min()),
                "density": float(each.density.mean()),
                "speedup": each.dense_s / each.seconds,
            }
            for each in new
        },
        "wall_s": time.perf_counter() - began,
    }


class Beside:
    """Policies beside dense attention, layer by layer of one chunk; a layer with a window of its own is left out."""

    def __init__(self, policies: Sequence[AttentionPolicy], repeats: int) -> None:
        self._policies, self._repeats = policies, repeats
        self._seconds: dict[str, list[float]] = {}
        self._kept: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {policy.name: [] for policy in policies}

    def __call__(self, layer: Layer) -> None:
        (piece,) = layer.plan.pieces
        if layer.is_windowed(piece):
            return
        bands = {policy.name: policy.at(piece.past) for policy in self._policies}
        ways: dict[str, Callable[[], Any]] = {"dense": partial(layer.dense, piece), "sdpa": sdpa(layer.rows(piece))}
        ways |= {name: partial(sparse.attended, layer, piece, band) for name, band in bands.items() if band is not None}
        sums: dict[str, torch.Tensor] = {}
        for turn in range(self._repeats):
            for name in sorted(ways, reverse=bool(turn % 2)):
                seconds, output = recall._timed(ways[name], layer.device)
                self._seconds.setdefault(name, [0.0] * self._repeats)[turn] += seconds
                if name != "sdpa":
                    sums[name] = output[1].double()
        rows = torch.arange(piece.past + 1, piece.past + 1 + piece.end - piece.begin).double()
        for name, band in bands.items():
            if band is None:
                kept = share = torch.ones(layer.query_heads).double()
            else:
                kept = (sums[name] - sums["dense"]).exp().clamp(max=1.0).mean(1).cpu()
                share = sparse.keys_seen(layer, piece, band).double().cpu().sum(1) / rows.sum()
            self._kept[name].append((kept, share))

    def seconds(self, name: str) -> float:
        """Median of the repeats; a policy that is dense here takes what dense attention does."""
        return statistics.median(self._seconds.get(name, self._seconds["dense"]))

    @property
    def recall(self) -> dict[str, float]:
        return {name: float(torch.stack([one for one, _ in kept]).mean()) for name, kept in self._kept.items()}

    @property
    def worst(self) -> dict[str, float]:
        """Of the head that keeps least."""
        return {name: float(torch.stack([one for one, _ in kept]).min()) for name, kept in self._kept.items()}

    @property
    def density(self) -> dict[str, float]:
        return {name: float(torch.stack([one for _, one in kept]).mean()) for name, kept in self._kept.items()}


def sdpa(rows: sparse.Rows) -> Callable[[], Any]:
    """Torch's own attention: the past and the chunk itself apart, since its fast ways know no triangle at the lower
    right; what merging both and repeating keys for all query heads takes is not counted."""
    repeats = rows.query.shape[1] // rows.key.shape[1]
    q = rows.query.transpose(0, 1)[None].contiguous()
    k, v = (kept.transpose(0, 1).repeat_interleave(repeats, 0)[None].contiguous() for kept in (rows.key, rows.value))
    attend = torch.nn.functional.scaled_dot_product_attention

    def work() -> None:
        if rows.past:
            attend(q, k[:, :, : rows.past], v[:, :, : rows.past], scale=rows.scale)
        attend(q, k[:, :, rows.past :], v[:, :, rows.past :], is_causal=True, scale=rows.scale)

    return work


def of_length(rows: Sequence[dict[str, Any]], chunk: int, min_recall: float) -> dict[str, Any]:
    """Means over the documents that a policy was measured on; of times the median, and the median of each document's
    own ratio to the faster of both dense ways beside it. `fastest` and `sparsest` are those of the policies that kept
    enough of as many documents as any, None where none did."""
    count = rows[0]["length"] // chunk
    weights = np.arange(count) + 0.5  # keys that a chunk's rows may look at

    def filled(row: dict[str, Any], values: Sequence[float]) -> Any:
        """[chunks] of a document."""
        return np.interp(np.arange(count) * chunk, row["places"], values)

    def whole(row: dict[str, Any], values: Sequence[float]) -> float:
        return float(filled(row, values).sum())

    found: dict[str, dict[str, Any]] = {}
    for name in sorted({name for row in rows for name in row["policies"]}):
        each = [(row, row["policies"][name]) for row in rows if name in row["policies"]]
        seconds = [whole(row, one["seconds"]) for row, one in each]
        dense = [min(whole(row, row["dense_s"]), whole(row, row["sdpa_s"])) for row, _ in each]
        density = [np.average(filled(row, one["density"]), weights=weights) for row, one in each]
        found[name] = {
            "documents": len(each),
            "recall": float(np.mean([filled(row, one["recall"]).mean() for row, one in each])),
            "worst_recall": min(min(one["worst"]) for _, one in each),
            "density": float(np.mean(density)),
            "seconds": statistics.median(seconds),
            "speedup": statistics.median(base / own for base, own in zip(dense, seconds, strict=True)),
        }
    most = max(one["documents"] for one in found.values())
    able = [name for name, one in found.items() if one["recall"] >= min_recall and one["documents"] == most]
    return {
        "documents": len({row["document"] for row in rows}),
        "dense_s": statistics.median(whole(row, row["dense_s"]) for row in rows),
        "sdpa_s": statistics.median(whole(row, row["sdpa_s"]) for row in rows),
        "fastest": max(able, key=lambda name: found[name]["speedup"], default=None),
        "sparsest": min(able, key=lambda name: found[name]["density"], default=None),
        "policies": dict(sorted(found.items(), key=lambda each: each[1]["density"])),
        "decode": {
            name: {key: float(np.mean([row["decode"][name][key] for row in rows])) for key in one}
            for name, one in rows[0]["decode"].items()
        },
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 8192], help="tokens")
    parser.add_argument("--limit", type=int, default=3, help="documents of each length")
    parser.add_argument("--chunks", type=int, default=5, help="that are measured of each document, 2 or more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--policies", nargs="+", metavar="TEXT")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--min-recall", type=float, default=0.95)
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

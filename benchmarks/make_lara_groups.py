"""Writes lara_groups.json: which of LaRA's documents have text in common, and so must be drawn together.

    python benchmarks/make_lara_groups.py

LaRA's paper documents are bundles of papers, some of which are in several bundles, and filings share wording. Two
documents are linked where they have SHARE of the shorter one's distinct 8-word shingles in common; a group is a
connected component, named by the first of its ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import dev_data

GROUPS = Path(__file__).with_name("lara_groups.json")
WORDS = 8
SHARE = 0.05


def main() -> None:
    dev_data.require()
    texts = {doc_id: document["text"] for doc_id, document in dev_data.documents("lara").items()}
    GROUPS.write_text(json.dumps(groups(texts), indent=0) + "\n", encoding="utf-8")


def groups(texts: Mapping[str, str]) -> dict[str, str]:
    """Each document's group, by id."""
    found = {doc_id: shingles(texts[doc_id]) for doc_id in sorted(texts)}
    group = {doc_id: doc_id for doc_id in found}
    for a, b in combinations(found, 2):
        if group[a] != group[b] and len(found[a] & found[b]) >= SHARE * min(len(found[a]), len(found[b])):
            kept, joined = sorted((group[a], group[b]))
            group = {doc_id: kept if name == joined else name for doc_id, name in group.items()}
    return group


def shingles(text: str) -> set[int]:
    """Hashes of the runs of WORDS words, in lower case and without punctuation."""
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[start : start + WORDS])) for start in range(len(words) - WORDS + 1)}


if __name__ == "__main__":
    main()

"""Adding survives kill -9 and company: afterwards every document is there once, with all that belongs to it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from support import add_files
from support.embedders import WordEmbedder

from turnout.database import Database
from turnout.retrieval.index import VectorIndex
from turnout.retrieval.segment import segment
from turnout.retrieval.vectors import unpack

SCRIPT = Path(add_files.__file__)


def start(home: Path, count: int, delay_s: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(home), str(count), str(delay_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def check(home: Path, at_most: int) -> int:
    """Compares what is stored with what should be, text by text; returns the number of documents."""
    database, embedder = Database(home / "turnout.db"), WordEmbedder()
    expected = {item.document.id: item.document for item in add_files.documents(at_most)}
    with database.read() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
        stored = connection.execute(sa.text("SELECT id, text FROM documents")).all()
        sources = connection.execute(sa.text("SELECT source, document_id, file_hash FROM sources")).all()
        segments = connection.execute(
            sa.text('SELECT document_id, start, "end", hash FROM segments ORDER BY document_id, ordinal')
        ).all()
        vectors = connection.execute(sa.text("SELECT id, hash, vector FROM vectors ORDER BY id")).all()
    assert {row.id: row.text for row in stored} == {row.id: expected[row.id].text for row in stored}
    assert sorted(tuple(row) for row in sources) == sorted(
        (doc.source, doc.id, f"hash {doc.title.removesuffix('.txt')}") for doc in (expected[row.id] for row in stored)
    )
    cuts = [cut for id_ in sorted(row.id for row in stored) for cut in segment(expected[id_])]
    assert [tuple(row) for row in segments] == [(s.span.document_id, s.span.start, s.span.end, s.hash) for s in cuts]
    texts = {s.hash: expected[s.span.document_id].text[s.span.start : s.span.end] for s in cuts}
    assert sorted(row.hash for row in vectors) == sorted(texts)
    matrix = unpack([row.vector for row in vectors], embedder.dimension)
    if vectors:
        assert np.allclose(matrix, embedder.embed([texts[row.hash] for row in vectors]))
        index = VectorIndex(database, home, embedder.fingerprint, embedder.dimension)
        index.sync()
        ids = np.array([row.id for row in vectors], np.int64)
        assert np.allclose(index.cosines(matrix[0], ids), matrix @ matrix[0], atol=1e-6)
    database.close()
    return len(stored)


@pytest.mark.timeout(180)
def test_kill_nine_at_random_moments_loses_and_doubles_nothing(home: Path) -> None:
    rng = random.Random(9)
    counts = []
    for has_stored_some in (False, True, False, True, False):
        process = start(home, 200, 0.002)
        go(process)
        if has_stored_some:
            assert process.stdout is not None and process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        counts.append(check(home, 200))
    assert counts == sorted(counts) and 0 < counts[-1] < 200
    process = start(home, 200, 0.0)
    process.communicate("\n", timeout=120)
    assert process.returncode == 0
    assert check(home, 200) == 200


@pytest.mark.timeout(120)
def test_two_processes_adding_the_same_files_both_succeed(home: Path) -> None:
    pair = [start(home, 40, 0.001) for _ in range(2)]
    for process in pair:
        go(process)
    printed = [process.communicate(timeout=90)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert [len(out.splitlines()) for out in printed] == [40, 40]
    assert check(home, 40) == 40

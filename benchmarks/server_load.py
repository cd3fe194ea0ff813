"""A server under load: many clients, and what its own part of the time is.

    python benchmarks/server_load.py [--clients N] [--seconds S] [--model FOLDER] [--max-questions N]

Starts `turnout serve` as a process of its own, on a tiny model with random weights unless another is named, uploads
documents, and lets every client ask one question after the other until the time is over; who is told to come again
(429) waits as long as the server says. Reported are the replies by status, seconds to answers, the server's own
overhead and the event loop's lag from its metrics, and its resident memory over time. Last it is killed while all ask,
and what was answered is looked for in the ledger, and every document must be whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import results_file

from turnout import Turnout
from turnout.tokens import Tokens

SEED = 1
TEXT = "The harbour office keeps a record of every ship. Clerk {n} writes the names in blue ink. Rain fell all week. "
QUESTION = "Who writes the names?"
KILL_AFTER_S, ENOUGH = 60.0, 50
"""Answers after which the server is killed, and seconds after which it is however few there are."""


def main(clients: int, seconds: float, model: str, questions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = model or tiny(home / "tiny")
        with Tokens.open(home=home) as tokens:
            _, key = tokens.create("load", ["load"], ["read", "write", "metrics"])
        process, url = start(home, model, questions)
        try:
            figures = asyncio.run(load(url, key, process.pid, clients, seconds))
            answered = asyncio.run(killed(url, key, process, clients))
        finally:
            process.kill()
            process.wait()
        figures["kill -9"] = ledger(home, answered)
    figures |= {"clients": clients, "seconds": seconds, "model": Path(model).name, "max_questions": questions}
    results_file.write("server_load", SEED, figures)


def tiny(folder: Path) -> str:
    """A model with random weights that speaks no language; its times are those of everything around a model."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.tiny_models import build

    folder.mkdir()
    return str(build(folder, max_position_embeddings=2048))


def start(home: Path, model: str, questions: int) -> tuple[subprocess.Popen[str], str]:
    """The server's process and address, once it can be reached."""
    command = [sys.executable, "-m", "turnout.cli.main", "serve", "--port", "0", "--model", model]
    command += ["--max-questions", str(questions)]
    env = os.environ | {"TURNOUT_HOME": str(home), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    for line in process.stderr or ():
        if found := re.search(r"listening on (\S+)/v1", line):
            # What it logs is read on, so that it never waits for us.
            threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
            return process, found.group(1)
    raise RuntimeError("the server did not start")


def client(url: str, key: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=120, limits=limits, trust_env=False)


async def load(url: str, key: str, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    server, replies, took, memory = psutil.Process(pid), Counter[str](), list[float](), list[int]()
    async with client(url, key) as http:
        texts = [{"text": TEXT.format(n=n) * 40, "title": f"{n}.md"} for n in range(16)]
        (await http.post("/v1/documents", json={"documents": texts})).raise_for_status()
        ids = [each["id"] for each in (await http.get("/v1/documents")).json()["data"]]
        await http.post("/v1/ask", json=body(ids[0]))  # loads and measures the model
        end = time.monotonic() + seconds

        async def asks(number: int) -> None:
            while time.monotonic() < end:
                begin = time.monotonic()
                reply = await http.post("/v1/ask", json=body(ids[number % len(ids)]))
                replies[str(reply.status_code)] += 1
                if reply.status_code == 429:
                    await asyncio.sleep(int(reply.headers["retry-after"]))
                else:
                    took.append(time.monotonic() - begin)

        async def watches() -> None:
            while time.monotonic() < end:
                memory.append(server.memory_info().rss)
                await asyncio.sleep(max(seconds / 30, 0.5))

        await asyncio.gather(watches(), *(asks(number) for number in range(clients)))
        metrics = (await http.get("/metrics")).text
    half = len(memory) // 2
    return {
        "replies": dict(replies),
        "answer_s": results_file.spread(took) if took else None,
        "overhead_s": percentiles(metrics, "turnout_overhead_seconds"),
        "loop_lag_s": percentiles(metrics, "turnout_loop_lag_seconds"),
        "memory_mib": {"first half": max(memory[:half]) >> 20, "second half": max(memory[half:]) >> 20} if half else {},
    }


def body(document: str) -> dict[str, Any]:
    return {"question": QUESTION, "documents": [{"id": document}], "max_tokens": 16}


def percentiles(metrics: str, name: str) -> dict[str, float | None]:
    """Upper ends of the buckets that hold the 50th and the 99th percentile."""
    rows = re.findall(rf'{name}_bucket{{le="([^"]+)"}} (\S+)', metrics)
    total = float(rows[-1][1]) if rows else 0.0
    found: dict[str, float | None] = {}
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        end = next((le for le, count in rows if total and float(count) >= share * total), "+Inf")
        found[label] = None if end == "+Inf" else float(end)
    return found | {"n": total}


async def killed(url: str, key: str, process: subprocess.Popen[str], clients: int) -> list[str]:
    """The ids of answers that came before the process was killed while all clients asked and wrote."""
    answered: list[str] = []
    async with client(url, key) as http:

        async def asks(number: int) -> None:
            text = TEXT.format(n=f"{number}/{time.time()}") * 200
            document = {"documents": [{"text": text, "title": f"new {number}.md"}]}
            try:
                await http.post("/v1/documents", json=document)
                while True:
                    reply = await http.post("/v1/ask", json={"question": QUESTION, "max_tokens": 4})
                    if reply.status_code == 200:
                        answered.append(reply.json()["id"])
            except httpx.TransportError:
                return  # it is dead, as it shall be

        async def kills() -> None:
            end = time.monotonic() + KILL_AFTER_S
            while len(answered) < ENOUGH and time.monotonic() < end:
                await asyncio.sleep(0.05)
            process.kill()

        await asyncio.gather(kills(), *(asks(number) for number in range(min(clients, 64))))
    return answered


def ledger(home: Path, answered: list[str]) -> dict[str, int]:
    """How many of the answers are missing from the ledger, and how many documents are not whole."""
    with Turnout(model="fake", home=home) as t:
        known = {entry.id for entry in t.log(1_000_000, "load")}
        rows = t.listing("load")
        shown = [t.show(row["document_id"], "load") for row in rows]
    tiled = [sum(s["end"] - s["start"] for s in each["segments"]) == len(each["text"]) for each in shown]
    missing = len(set(answered) - known)
    return {"answered": len(answered), "missing": missing, "documents": len(rows), "not whole": tiled.count(False)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--model", default="", help="folder or name; a tiny one with random weights by default")
    parser.add_argument("--max-questions", type=int, default=64)
    given = parser.parse_args()
    main(given.clients, given.seconds, given.model, given.max_questions)

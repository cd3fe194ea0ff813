"""The router's own table over a server."""

import json
from pathlib import Path

from support import questions as towns
from support.embedders import WordEmbedder
from support.faulty_proxy import Fault, between
from support.openai_stub import Stub, serve

from turnout import evaluate
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.report_text import terminal
from turnout.router.evaluation.rows import read_run


def test_full_rag_and_extract_over_a_server_make_the_routers_table(tmp_path: Path) -> None:
    questions, documents = towns.towns(tmp_path / "data", count=2)
    words = ["In 1801.\n", 'Quote: "The bridge of Arle was built in 1801."']
    server = Stub(models=[{"id": "tiny", "max_model_len": 4000}], words=words, caches=True, tokenizer="vllm")
    faults = [Fault(status=429, headers={"retry-after-ms": "5"}), Fault(cut_after=0)]
    with serve(server), between(server.url, *faults) as proxy:
        evaluate.run(
            [questions],
            [documents],
            tmp_path / "out",
            strategies=["router", "full", "rag", "extract"],
            embedder=WordEmbedder(),
            model=proxy.url,
            parallel=2,
        )
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 4
    assert all(row["error"] is None and row["usage"]["completion_tokens"] == 3 for row in rows)
    assert {row["chosen"] for row in rows if row["strategy"] == "router"} <= {"full", "rag"}
    assert all(row["usage"]["cached_tokens"] == 0 for row in rows), "each row has a salt of its own"
    shown = "\n".join(terminal(figures(read_run(tmp_path / "out"))))
    assert all(name in shown for name in ("router", "full", "rag", "extract", "oracle"))

"""The router's own table over a real server, from the questions to the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import questions as towns
from support import tiny_models
from support.embedders import WordEmbedder
from support.faulty_proxy import Fault, between
from support.transformers_server import serving

from turnout import evaluate
from turnout.router.evaluation.report_text import terminal

pytestmark = pytest.mark.slow

STRATEGIES = ["router", "full", "rag", "extract"]
WINDOW = 1500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base URL, model name); the model is a random one, so its answers are noise."""
    folder = tiny_models.build(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=8192)
    config = folder / "tokenizer_config.json"
    known = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(known), encoding="utf-8")
    with serving(folder, tmp_path_factory.mktemp("serve")) as url:
        yield url, str(folder)


def test_full_rag_and_extract_over_a_server_make_the_routers_table(server: tuple[str, str], tmp_path: Path) -> None:
    url, model = server
    # towns-0 is over the window, and full is left out of it; the others are not.
    documents = [towns.document(n, 200 if n == 0 else 12) for n in range(3)]
    files = towns.write(tmp_path / "data", [towns.question(n) for n in range(3)], documents)
    out = tmp_path / "out"
    with between(url, Fault(status=429, headers={"retry-after-ms": "5"}), Fault(cut_after=0)) as proxy:
        facts = evaluate.run(
            files[:1],
            files[1:],
            out,
            strategies=STRATEGIES,
            embedder=WordEmbedder(),
            model=proxy.url,
            model_name=model,
            server_window=WINDOW,
            server_retries=3,
            parallel=2,
        )
        # The warm-up, and full, rag and extract for three questions but for one; two were asked again.
        assert proxy.chats == 1 + 8 + 2
    assert (facts["failed_rows"], facts["left_out"]) == (0, {"full": {"window": 1}})
    rows = {
        (row["question_id"], row["strategy"]): row
        for row in map(json.loads, (out / "rows.jsonl").read_text().splitlines())
    }
    assert len(rows) == 3 * len(STRATEGIES)
    too_long = rows["towns-0", "full"]["left_out"]
    assert (too_long["limit"], too_long["allowed"]) == ("window", WINDOW) and too_long["needed"] > WINDOW
    assert rows["towns-0", "router"]["chosen"] == "rag"
    for row in rows.values():
        if "left_out" not in row:
            assert row["usage"]["prompt_tokens"] > 50 and row["usage"]["ttft_s"] > 0, row["strategy"]
    report = evaluate.report(out)["figures"]
    by_name = {entry["name"]: entry for entry in report["strategies"]}
    assert {name: by_name[name]["questions"] for name in STRATEGIES} == {"router": 3, "full": 2, "rag": 3, "extract": 3}
    assert report["best_single"] in ("rag", "extract")
    shown = "\n".join(terminal(report))
    assert "full        left out of 1 of 3 questions, too long for the window 1" in shown
    assert all(name in shown for name in (*STRATEGIES, "oracle"))
    assert evaluate.compare(f"{out}:router", f"{out}:full")["questions"] == 2

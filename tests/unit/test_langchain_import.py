"""What importing turnout.langchain costs over LangChain itself."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import turnout.langchain

PUBLIC = [
    "ChatTurnout",
    "EngineFailure",
    "ForeignEmbedder",
    "RequestError",
    "TurnoutCompressor",
    "TurnoutEmbeddings",
    "TurnoutLoader",
    "TurnoutRetriever",
    "TurnoutVectorStore",
    "UnsupportedError",
    "turnout_tool",
]
# What our classes are made of: its own time.
THEIRS = """
import langchain_core
from langchain_core.document_loaders import BaseLoader
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import StructuredTool
from langchain_core.vectorstores import VectorStore
"""
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "faiss",
    "redis",
    "openai",
    "langchain",
    "sqlalchemy",
    "numpy",
}
MOST_S = 0.3


def test_public_names() -> None:
    assert sorted(turnout.langchain.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_resolves_and_has_a_docstring(name: str) -> None:
    found = getattr(turnout.langchain, name)
    assert found.__name__ == name
    assert found.__doc__


@pytest.mark.parametrize(
    ("before", "measured"),
    [
        ("import langchain_core", "import turnout.langchain"),
        (THEIRS, f"from turnout.langchain import {', '.join(PUBLIC)}"),
    ],
)
def test_importing_costs_little_and_loads_no_model_library(before: str, measured: str) -> None:
    """Each in a fresh process; processor time of the best of three, since a busy machine tells nothing of an import."""
    runs = [_imported(before, measured) for _ in range(3)]
    assert min(run["seconds"] for run in runs) < MOST_S
    assert not HEAVY & set(runs[0]["loaded"])


def _imported(before: str, measured: str) -> dict[str, Any]:
    script = f"""
import json, sys, time
{before}
begin = time.process_time()
{measured}
seconds = time.process_time() - begin
print(json.dumps({{"seconds": seconds, "loaded": sorted({{name.split(".")[0] for name in sys.modules}})}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))

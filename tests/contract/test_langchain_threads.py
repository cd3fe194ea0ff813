"""Many threads at once over one library and one model, leaving a local model, and constructors that open nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.langchain import ChatTurnout, TurnoutEmbeddings, TurnoutRetriever, TurnoutVectorStore
from turnout.types import Finished

QUESTION = "Who repaired the lighthouse lamp?"
WHY = "Why did Marta Lindqvist repair the lighthouse lamp?"
LONG = "It had been broken by a storm, and she had the parts of a railway signal at hand, which fitted. " * 9
SMALL = "Marta Lindqvist repaired the lighthouse lamp, since the light had gone out in the storm."
NOTES = [f"Note {number}: boat number {number} lies in the harbour." for number in range(40)]


def test_sixteen_threads_use_every_part_beside_a_running_answer() -> None:
    engine = FakeEngine(answers=[LONG], token_s=0.01)
    with Turnout(engine=engine, embedder=WordEmbedder()) as shared:
        chat = ChatTurnout(turnout=shared, documents=[Text(BOOK, "book.md")], max_tokens=400)
        retriever = TurnoutRetriever(turnout=shared, documents=[Text(BOOK, "book.md")], k=2)
        embeddings, store = TurnoutEmbeddings(shared), TurnoutVectorStore(turnout=shared)
        store.add_texts(NOTES, ids=[str(number) for number in range(len(NOTES))])
        of_store = TurnoutRetriever(turnout=shared, collection=store.collection, k=1)
        parts: list[Callable[[int], Any]] = [
            lambda n: [document.page_content for document in retriever.invoke(QUESTION)],
            lambda n: of_store.invoke(NOTES[n])[0].page_content,
            lambda n: embeddings.embed_documents([NOTES[n]]),
            lambda n: embeddings.embed_query(NOTES[n]),
            lambda n: [document.id for document in store.similarity_search(NOTES[n], k=3)],
            lambda n: [document.id for document in store.max_marginal_relevance_search(NOTES[n], k=2)],
            lambda n: store.get_by_ids([str(n)])[0].page_content,
            lambda n: chat.get_num_tokens(NOTES[n]),
        ]
        alone = [part(number) for number in range(16) for part in parts]
        with ThreadPoolExecutor(17) as pool:
            answer = pool.submit(chat.invoke, WHY)
            while not engine.contexts:
                time.sleep(0.01)
            together = list(pool.map(lambda pair: pair[1](pair[0]), [(n, p) for n in range(16) for p in parts]))
            added = list(pool.map(lambda n: store.add_texts([f"New {n}."], ids=[f"new {n}"]), range(16)))
            assert not answer.done(), "none of them waited for the answer"
            assert answer.result().text.startswith("It had been broken")
        assert together == alone
        assert added == [[f"new {number}"] for number in range(16)]
        assert len(store.get_by_ids([f"new {number}" for number in range(16)])) == 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=1024)


@pytest.mark.parametrize("way", ["cancel", "leave"])
async def test_giving_up_frees_a_local_engine(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from turnout.engines.local import LocalEngine

    torch.set_num_threads(1)
    engine = LocalEngine(folder, device="cpu", dtype="float32")
    plain, ended, reading = engine.generate, list[str](), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*given: Any) -> Iterator[Any]:
        for event in plain(*given):
            loop.call_soon_threadsafe(reading.set)
            time.sleep(0.05)
            if isinstance(event, Finished):
                ended.append(event.reason)
            yield event

    with Turnout(engine=engine) as shared:
        model = ChatTurnout(turnout=shared, documents=[Text(SMALL)], max_tokens=8)
        alone = (await model.ainvoke(QUESTION)).text
        with monkeypatch.context() as patched:
            patched.setattr(engine, "generate", slow)
            reading.clear()
            if way == "cancel":
                task = asyncio.create_task(model.ainvoke(WHY, max_tokens=500))
                await reading.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                stream = model.astream(WHY, max_tokens=500)
                first = asyncio.create_task(anext(stream))
                await reading.wait()
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first
                await stream.aclose()
        assert ended == ["cancelled"]
        begin = time.monotonic()
        assert (await model.ainvoke(QUESTION)).text == alone
        assert time.monotonic() - begin < 5


def test_constructors_open_nothing_of_a_local_model_but_its_configuration(folder: Path, home: Path) -> None:
    """In a fresh process that sees which files are opened and what is imported."""
    script = f"""
import json, sys
from turnout.langchain import *
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
chat = ChatTurnout(model={str(folder)!r}, documents=["missing.pdf"])
window = chat.bind_documents("x").profile["max_input_tokens"]
parts = [TurnoutRetriever(), TurnoutEmbeddings(), TurnoutVectorStore(), TurnoutLoader("x"), turnout_tool("x")]
heavy = sorted({{"torch", "transformers", "sqlalchemy", "faiss"}} & set(sys.modules))
print(json.dumps([window, heavy, [name for name in opened if {str(folder.parent)!r} in name or "turnout.db" in name]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    window, heavy, opened = json.loads(done.stdout)
    assert (window, heavy) == (1024, [])
    assert {Path(name).name for name in opened} == {"config.json"}
    assert list(home.iterdir()) == []

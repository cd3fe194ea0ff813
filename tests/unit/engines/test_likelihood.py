"""How likely an answer is: as one full forward pass says, after the prompt that `generate` would read."""

from pathlib import Path
from typing import Any

import pytest
from support import adapters, tiny_models
from support.tiny_models import context

from turnout.contracts import Foretells
from turnout.engines import adapter, loading
from turnout.engines import folder as folders
from turnout.engines.local import LocalEngine
from turnout.errors import Cancelled, ConfigurationError, EngineError
from turnout.progress import Watch

ANSWER = "on the island"
LONG = "The light stands on the island. " * 24


@pytest.fixture(scope="module")
def network(tiny_folder: Path) -> Any:
    return loading.load(folders.read(tiny_folder), "cpu", "float32", None)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """One with an adapter that reads long texts in pieces."""
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=4096)
    read = folders.read(folder)
    bare = loading.load(read, "cpu", "float32", None)
    made = adapters.build(folder.parent / "adapter", bare, adapter.identity(read, bare), evidence="after")
    return LocalEngine(folder, device="cpu", dtype="float32", adapter=made)


def plain(network: Any, ids: list[int], answer: list[int]) -> float:
    import torch

    with torch.inference_mode():
        told = network(torch.tensor([[*ids, *answer]])).logits[0].float().log_softmax(-1)
    return sum(float(told[len(ids) + at - 1, token]) for at, token in enumerate(answer)) / len(answer)


@pytest.mark.parametrize("answer", [ANSWER, "o", "the light stands on the island and shines"])
def test_it_is_the_mean_over_the_answers_tokens(tiny_folder: Path, network: Any, answer: str) -> None:
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", chunk_tokens=64)
    assert isinstance(engine, Foretells)
    asked = [context(), context("nobody", "the sea shines at night")]
    found = engine.likelihood(asked, answer)
    ids = engine.tokenizer.encode_text(answer)
    assert found == pytest.approx([plain(network, engine.encode(each), ids) for each in asked], abs=1e-4)
    assert max(found) < 0
    assert engine.likelihood(asked, answer) == pytest.approx(found, abs=1e-5), "what was read is found again"


def test_a_text_in_pieces_is_answered_from_the_one_that_is_surest(apart: LocalEngine) -> None:
    asked = context(LONG)
    prompts = apart.prompts(asked)
    assert len(prompts) > 1
    merged = loading.load(apart.folder, "cpu", "float32", apart._adapter)
    (refusal, *_) = apart.tokenizer.encode_text(apart.prompt_format.refusal)
    surest = min(prompts, key=lambda ids: plain(merged, ids, [refusal]))
    expected = plain(merged, surest, apart.tokenizer.encode_text(ANSWER))
    assert apart.likelihood([asked], ANSWER) == pytest.approx([expected], abs=1e-3)


def test_what_is_read_is_told_and_can_be_given_up(apart: LocalEngine) -> None:
    apart.forget()
    watch = Watch()
    apart.likelihood([context(LONG)], ANSWER, watch)
    assert watch.read_tokens == apart.count(context(LONG))
    apart.forget()
    before = apart._session.room() if apart._session else 0
    with pytest.raises(Cancelled):
        apart.likelihood([context(LONG)], ANSWER, Watch(lambda: True))
    apart.forget()
    assert apart._session is not None and apart._session.room() == before


def test_bad_input(tiny_folder: Path) -> None:
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    assert engine.likelihood([], ANSWER) == []
    with pytest.raises(ConfigurationError, match="answer is empty"):
        engine.likelihood([context()], "")
    with pytest.raises(EngineError, match="over the window"):
        engine.likelihood([context("the light " * 400)], ANSWER)

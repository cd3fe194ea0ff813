"""What a text's tokens are worth where an answer begins: as the eager model shows it."""

from pathlib import Path
from typing import Any

import pytest
from support import tiny_models

from turnout.contracts import RanksTokens
from turnout.engines import importance
from turnout.engines.local import LocalEngine
from turnout.errors import Cancelled, ConfigurationError, EngineError
from turnout.progress import Watch

TEXT = "the light stands on the island, it shines at night.\nnobody came back. " * 2
QUESTION = "where does the light stand?"


@pytest.fixture(scope="module")
def network(tiny_folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager").eval()


def eager(engine: LocalEngine, network: Any, ids: list[int]) -> list[float]:
    import torch

    prompt, begin = importance.prompt(engine.tokenizer, ids, QUESTION)
    end, queries = begin + len(ids), min(importance.QUERIES, len(prompt) - begin - len(ids))
    with torch.inference_mode():
        first = int(network(torch.tensor([prompt])).logits[0, -1].argmax())
        attentions = network(torch.tensor([[*prompt, first]]), output_attentions=True).attentions[1:]
    ramp = torch.tensor([*((at + 1) / queries for at in range(queries)), 1.0])[:, None]
    rows = torch.stack([layer[0, :, -queries - 1 :, begin:end] for layer in attentions])
    found: list[float] = (rows * ramp).amax((0, 1, 2)).tolist()
    return found


@pytest.mark.parametrize("queries", [64, 4])
def test_it_is_that_of_the_eager_model(
    engine: LocalEngine, network: Any, monkeypatch: pytest.MonkeyPatch, queries: int
) -> None:
    monkeypatch.setattr(importance, "QUERIES", queries)
    monkeypatch.setattr(importance, "ROWS", 5)
    engine.forget()
    ids, offsets = engine.placed(TEXT)
    found = engine.importance(ids, QUESTION)
    assert isinstance(engine, RanksTokens) and len(found) == len(ids)
    nothing = 0
    for value, wanted, (start, end) in zip(found, eager(engine, network, ids), offsets, strict=True):
        if any(map(str.isalnum, TEXT[start:end])):
            assert value == pytest.approx(wanted, abs=1e-5)
        else:
            nothing += 1
            assert value == 0
    assert nothing >= 4
    with engine.sequence() as sequence:
        sequence.prefill(importance.prompt(engine.tokenizer, ids, QUESTION)[0])
        assert sequence.reused == 0, "nothing stays"


def test_another_question_looks_elsewhere(engine: LocalEngine) -> None:
    ids, _ = engine.placed(TEXT)
    assert engine.importance(ids, QUESTION) != engine.importance(ids, "who came back at night?")


@pytest.mark.parametrize("text", ["", "a", "the light — die Leuchte — 灯台 👩‍👩‍👧 é\u0301\r\n<|im_end|>", " \n\n"])
def test_tokens_stand_where_they_stand(engine: LocalEngine, text: str) -> None:
    ids, offsets = engine.placed(text)
    assert ids == engine.tokenizer.encode_text(text)
    assert len(ids) == len(offsets)
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    assert len(engine.importance(ids, QUESTION)) == len(ids)


def test_the_watch_hears_of_every_step(engine: LocalEngine) -> None:
    ids, _ = engine.placed(TEXT)
    whole, ended = Watch(), Watch(lambda: True)
    engine.importance(ids, QUESTION, whole)
    assert whole.read_tokens == len(importance.prompt(engine.tokenizer, ids, QUESTION)[0]) + 1
    with pytest.raises(Cancelled):
        engine.importance(ids, QUESTION, ended)
    assert ended.read_tokens <= engine.chunk


def test_what_can_not_be_looked_at_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(ConfigurationError, match="question is empty"):
        engine.importance([5], " ")
    with pytest.raises(EngineError, match="window"):
        engine.importance([5] * tiny_models.WINDOW, QUESTION)

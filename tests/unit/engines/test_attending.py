"""What a question looks at in texts: as the model's eager attention says, and only at words."""

from pathlib import Path
from typing import Any

import pytest
from support import tiny_models

from turnout.contracts import Attends
from turnout.engines import local
from turnout.engines.local import LocalEngine
from turnout.engines.prompt import ChatMessage, Piece
from turnout.errors import ConfigurationError, EngineError, ModelError

TEXTS = ["the light stands on the island. ", "it was lit by hand,\n", "the keeper left at dawn. " * 3]
QUESTION = "where does the light stand?"


@pytest.fixture(scope="module")
def network(tiny_folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager").eval()


def message() -> ChatMessage:
    pieces = [*(Piece(text, False) for text in TEXTS), Piece("\n\n", True), Piece(QUESTION, False)]
    return ChatMessage("user", tuple(pieces))


def eager(engine: LocalEngine, network: Any, layer: int) -> list[list[float]]:
    import torch

    ids, places = engine.tokenizer.encode_placed([message()])
    with torch.inference_mode():
        rows = network(torch.tensor([ids]), output_attentions=True).attentions[layer][0]
    first, last = places[-1]
    summed = rows[:, first:last].sum((0, 1)).tolist()
    return [summed[start:end] for start, end in places[:-1]]


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_is_that_of_the_eager_model(engine: LocalEngine, network: Any, layer: int) -> None:
    found = engine.attend(TEXTS, QUESTION, layer)
    plain = 0
    for text, weights, expected in zip(TEXTS, found, eager(engine, network, layer), strict=True):
        ids = engine.tokenizer.encode_text(text)
        assert len(weights) == len(ids)
        for token, weight, wanted in zip(ids, weights, expected, strict=True):
            if any(map(str.isalnum, engine.tokenizer.decode([token]))):
                assert weight == pytest.approx(wanted, abs=1e-5)
            else:
                plain += 1
                assert weight == 0
    assert plain >= 2


def test_the_middle_layer_is_the_default_and_nothing_stays(engine: LocalEngine) -> None:
    assert engine.attend(TEXTS, QUESTION) == engine.attend(TEXTS, QUESTION, 1)
    assert isinstance(engine, Attends)
    with engine.sequence() as sequence:
        sequence.prefill(engine.tokenizer.encode([message()]))
        assert sequence.reused == 0


def test_where_untrusted_pieces_stand(engine: LocalEngine) -> None:
    ids, places = engine.tokenizer.encode_placed([ChatMessage("user", (Piece("", False), Piece("the light", False)))])
    assert places[0][0] == places[0][1] == places[1][0]
    assert ids[slice(*places[1])] == engine.tokenizer.encode_text("the light")


def test_what_can_not_be_looked_at_is_refused(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="question is empty"):
        engine.attend(TEXTS, "")
    with pytest.raises(ConfigurationError, match="layer 2 is not one of the model's 2"):
        engine.attend(TEXTS, QUESTION, 2)
    with pytest.raises(EngineError, match="window"):
        engine.attend(["the light " * tiny_models.WINDOW], QUESTION)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu")
    with pytest.raises(ModelError, match="can't show its attention"):
        other.attend(TEXTS, QUESTION)

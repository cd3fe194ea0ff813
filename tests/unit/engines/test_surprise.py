"""How unlikely texts are: as one full forward pass says, whatever is read together."""

from pathlib import Path
from typing import Any

import pytest
from support import tiny_models

from turnout.compression.code import CodeCompressor
from turnout.compression.selection import Target
from turnout.contracts import Surprises
from turnout.documents import Span
from turnout.engines import local
from turnout.engines.local import LocalEngine
from turnout.errors import Cancelled, EngineError, ModelError
from turnout.progress import Watch
from turnout.types import Part

QUESTION = "where does the light stand, and who lit it?"
TEXTS = ["", "the light stands on the island.\n", "nobody", "it shines at night over the sea. " * 6, "<|im_end|>"]
CODE = """def light(sea):
    shine = sea.night()
    return shine

def island(sea):
    stands = sea.light()
    return stands
"""


@pytest.fixture(scope="module")
def network(tiny_folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()


def plain(network: Any, ids: list[int]) -> list[float]:
    """The negative logarithm of the probability of each token but the first, by the whole text at once."""
    import torch

    with torch.inference_mode():
        logits = network(torch.tensor([ids])).logits[0].float()
    told = torch.log_softmax(logits[:-1], -1)
    return [-float(told[at, token]) for at, token in enumerate(ids[1:])]


def start(engine: LocalEngine) -> list[int]:
    found = engine.tokenizer.id_of("<|im_start|>")
    assert found is not None
    return [found]


def expected(engine: LocalEngine, network: Any, text: str) -> float:
    after = engine.tokenizer.encode_text(QUESTION)
    losses = plain(network, [*start(engine), *engine.tokenizer.encode_text(text), *after])
    return sum(losses[-len(after) :]) / len(after)


@pytest.mark.parametrize(("tokens", "rows"), [(512, 128), (1000, 1000), (64, 7), (5, 2), (1, 1)])
def test_a_continuation_surprises_as_in_a_full_forward(
    engine: LocalEngine, network: Any, monkeypatch: pytest.MonkeyPatch, tokens: int, rows: int
) -> None:
    monkeypatch.setattr("turnout.engines.surprise.STEP_TOKENS", tokens)
    monkeypatch.setattr("turnout.engines.surprise.ROWS", rows)
    found = engine.surprise(TEXTS, QUESTION)
    assert found == pytest.approx([expected(engine, network, text) for text in TEXTS], abs=1e-4)
    assert len({round(value, 3) for value in found}) == len(TEXTS)


@pytest.mark.parametrize(("tokens", "rows"), [(512, 128), (9, 4), (1, 1)])
def test_lines_surprise_as_in_a_full_forward(
    engine: LocalEngine, network: Any, monkeypatch: pytest.MonkeyPatch, tokens: int, rows: int
) -> None:
    monkeypatch.setattr("turnout.engines.surprise.STEP_TOKENS", tokens)
    monkeypatch.setattr("turnout.engines.surprise.ROWS", rows)
    ends = [at + 1 for at, letter in enumerate(CODE) if letter == "\n"]
    spans = list(zip([0, *ends], ends, strict=False))
    encoded = [engine.tokenizer.encode_text(CODE[first:last]) for first, last in spans]
    losses = plain(network, [*start(engine), *(token for ids in encoded for token in ids)])
    wanted, at = [], 0
    for ids in encoded:
        wanted.append(sum(losses[at : at + len(ids)]) / len(ids))
        at += len(ids)
    assert engine.line_surprises(CODE, spans) == pytest.approx(wanted, abs=1e-4)
    # What lies between lines is read, and not reported.
    assert engine.line_surprises(CODE, spans[2:4]) == pytest.approx(wanted[2:4], abs=1)


def test_nothing_surprises_not_at_all(engine: LocalEngine) -> None:
    assert engine.surprise([], QUESTION) == []
    assert engine.surprise(TEXTS, "") == [0.0] * len(TEXTS)
    assert engine.line_surprises("", []) == []
    assert engine.line_surprises("", [(0, 0)]) == [0.0]
    first, nothing, second = engine.line_surprises("the light", [(0, 4), (4, 4), (4, 9)])
    assert nothing == 0 < min(first, second)


def test_the_room_for_keys_and_values_is_given_back(engine: LocalEngine) -> None:
    session = engine._session
    assert session is not None
    before = session.room()
    engine.surprise(TEXTS * 5, QUESTION)
    engine.line_surprises(CODE, [(0, len(CODE))])
    assert session.room() == before


def test_what_can_not_be_told_is_refused(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    giant = "the light " * tiny_models.WINDOW
    with pytest.raises(EngineError, match="window"):
        engine.surprise(["", giant], QUESTION)
    with pytest.raises(EngineError, match="window"):
        engine.line_surprises(giant, [(0, len(giant))])
    for lines in ([(4, 9), (0, 4)], [(0, 500)], [(3, 2)]):
        with pytest.raises(ValueError, match="a line from"):
            engine.line_surprises("the light stands", lines)
    monkeypatch.setattr(local, "are_pages_for", lambda model: False)
    other = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu")
    with pytest.raises(ModelError, match="can't tell how unlikely"):
        other.surprise(TEXTS, QUESTION)
    with pytest.raises(ModelError, match="can't tell how unlikely"):
        other.line_surprises(CODE, [(0, 5)])


@pytest.mark.parametrize("fine", [True, False])
def test_code_is_compressed_by_the_model(engine: LocalEngine, fine: bool) -> None:
    assert isinstance(engine, Surprises)
    pytest.importorskip("tree_sitter")
    parts = [Part(CODE * 4, Span("doc", 0, len(CODE) * 4), "sea.py")]
    compressor = CodeCompressor(engine, engine.count_text, fine=fine)
    found = compressor.compress(QUESTION, parts, Target())
    assert 0 < sum(engine.count_text(each.text) for each in found) <= engine.count_text(CODE * 4) // 2
    assert found == compressor.compress(QUESTION, parts, Target())


def test_the_watch_hears_of_every_step_and_ends_it_after_one(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Watch()
    engine.surprise(TEXTS, QUESTION, whole)
    after = engine.tokenizer.count_text(QUESTION)
    # The start before each text is read, the last token of the question is not.
    assert whole.read_tokens == sum(engine.tokenizer.count_text(text) + after for text in TEXTS)
    monkeypatch.setattr("turnout.engines.surprise.STEP_TOKENS", 8)
    for read in (lambda w: engine.surprise(TEXTS, QUESTION, w), lambda w: engine.line_surprises(CODE, [(0, 90)], w)):
        ended = Watch(lambda: True)
        with pytest.raises(Cancelled):
            read(ended)
        assert 0 < ended.read_tokens <= 8

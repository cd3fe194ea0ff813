"""Greedy answers in float32 are those of transformers' own `generate`: alone and eight at once, cold, warm, and after a
restart from disk."""

from pathlib import Path

import pytest
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.engines.local import LocalEngine
from turnout.types import Context, GenerationParams

KINDS = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "phi3": {},
    "mistral": {"sliding_window": 100},
}
TEXT = "The light stands on the island and shines at night over the sea. " * 12
ASKED = [
    context(TEXT + "A storm came. " * number, question=question)
    for number, question in enumerate(
        ("Where?", "Who?", "When?", "Why?", "What shines?", "How?", "Which sea?", "Whose?")
    )
]
PARAMS = GenerationParams(max_tokens=24)


def expected(folder: Path, engine: LocalEngine, asked: Context) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = engine.encode(asked)
    found = model.generate(torch.tensor([ids]), max_new_tokens=PARAMS.max_tokens, do_sample=False)[0, len(ids) :]
    kept = [token for token in found.tolist() if token not in engine.end_tokens]
    return engine.tokenizer.decode(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = tiny_models.build(tmp_path / kind, architecture=kind, **KINDS[kind])
    first, second = (LocalEngine(folder, device="cpu", dtype="float32", disk=tmp_path / "kv") for _ in range(2))
    wanted = [expected(folder, first, asked) for asked in ASKED]
    assert len(set(wanted)) > 4, "the answers hardly differ"
    for engine, cached in ((first, False), (first, True), (second, True)):
        events = list(engine.generate(ASKED[0], PARAMS))
        assert text_of(events) == wanted[0]
        assert (events[-1].cached_tokens > 0) is cached
    assert first.answer_all(ASKED, PARAMS) == wanted
    assert second.answer_all(ASKED, PARAMS) == wanted

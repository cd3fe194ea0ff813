"""Positions past the trained window, by YaRN: never unless asked for, and as transformers computes them."""

from pathlib import Path

import pytest
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.engines import folder as folders
from turnout.engines.local import LocalEngine
from turnout.errors import EngineError, ModelError
from turnout.types import GenerationParams

LONG = "the light stands on the island " * 120


def test_a_window_is_never_stretched_silently(tiny_folder: Path) -> None:
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    assert engine.count(context(LONG)) > tiny_models.WINDOW == engine.model.window
    with pytest.raises(EngineError, match="over the window of 512"):
        list(engine.generate(context(LONG), GenerationParams(max_tokens=4)))


def test_stretched_positions_are_those_of_transformers(tiny_folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", yarn=4)
    ids = engine.encode(context(LONG))
    assert tiny_models.WINDOW < len(ids) < engine.model.window == 4 * tiny_models.WINDOW
    config = AutoConfig.from_pretrained(tiny_folder)
    config.rope_parameters = {
        **config.rope_parameters,
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": tiny_models.WINDOW,
    }
    config.max_position_embeddings = 4 * tiny_models.WINDOW
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, config=config, dtype=torch.float32)
    wanted = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :].tolist()
    found = text_of(engine.generate(context(LONG), GenerationParams(max_tokens=16)))
    assert found == engine.tokenizer.decode(wanted)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    with torch.inference_mode():
        assert not torch.allclose(model(torch.tensor([ids])).logits, plain(torch.tensor([ids])).logits, atol=1e-2)


def test_a_stretched_model_is_another_model(tiny_folder: Path) -> None:
    prints = {LocalEngine(tiny_folder, device="cpu", yarn=factor).model.fingerprint for factor in (1, 2, 4)}
    assert len(prints) == 3


@pytest.mark.parametrize("factor", [0.5, 0.0, -2.0, float("inf")])
def test_a_factor_that_stretches_nothing_is_refused(tiny_folder: Path, factor: float) -> None:
    with pytest.raises(ModelError, match="can't be stretched"):
        folders.stretched(folders.read(tiny_folder), factor)


def test_positions_that_are_scaled_already_are_refused(tmp_path: Path) -> None:
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    folder = tiny_models.build(tmp_path / "scaled", rope_parameters=scaled)
    with pytest.raises(ModelError, match=r"scales its positions itself \(linear\)"):
        LocalEngine(folder, device="cpu", yarn=2).model  # noqa: B018

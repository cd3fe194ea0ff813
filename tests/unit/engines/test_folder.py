"""What a model's folder must hold, and what is refused by name."""

import json
import shutil
from pathlib import Path

import pytest

from turnout.engines import folder
from turnout.errors import ModelError


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_shapes_and_parameters_are_read_without_loading(model: Path):
    from transformers import AutoModelForCausalLM

    found = folder.read(model)
    assert (found.window, found.layers, found.kv_heads, found.head_dim) == (512, 2, 2, 8)
    assert found.parameters == AutoModelForCausalLM.from_pretrained(model).num_parameters()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(model: Path, name: str):
    change(model / name, auto_map={"AutoModel": "modeling.Evil"})
    with pytest.raises(ModelError, match=rf"refused: its {name} has auto_map"):
        folder.check(model)


@pytest.mark.parametrize("suffix", folder.PICKLED)
def test_pickled_weights_are_refused_and_not_opened(model: Path, suffix: str):
    (model / "model.safetensors").rename(model / f"weights{suffix}")
    with pytest.raises(ModelError, match=rf"refused: weights{suffix} is a pickle"):
        folder.check(model)


def test_pickled_weights_beside_safetensors_are_left_alone(model: Path):
    (model / "pytorch_model.bin").write_bytes(b"x")
    assert folder.check(model)["model_type"] == "llama"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", "{", "can't be read"),
        ("config.json", "[]", "not a JSON object"),
        ("tokenizer.json", None, "no tokenizer.json"),
        ("model.safetensors", None, "no safetensors weights"),
        ("model.safetensors", "", "not a whole safetensors file"),
        ("model.safetensors", "x" * 50, "not a whole safetensors file"),
    ],
)
def test_missing_and_damaged_files_are_named(model: Path, name: str, content: str | None, message: str):
    (model / name).unlink()
    if content is not None:
        (model / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        folder.read(model)


def test_cut_weights_are_noticed(model: Path):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match="is cut off"):
        folder.read(model)


def test_a_configuration_without_sizes_is_not_a_language_model(model: Path):
    (model / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelError, match="num_attention_heads"):
        folder.read(model)


@pytest.mark.parametrize("what", ["config", "tokenizer", "template", "weights"])
def test_the_fingerprint_follows_every_file_that_changes_answers(model: Path, tiny_folder: Path, what: str):
    from support import tiny_models

    before = folder.read(model).fingerprint
    assert before == folder.read(tiny_folder).fingerprint
    match what:
        case "config":
            change(model / "config.json", rms_norm_eps=1e-3)
        case "tokenizer":
            change(model / "tokenizer.json", version="1.1")
        case "template":
            (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
        case "weights":
            tiny_models.build(model, seed=1)
    assert folder.read(model).fingerprint != before

"""Training a tiny model from data to adapter, and the adapter in the engine."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models, training_data
from support.tiny_models import context, text_of

from turnout import train
from turnout.engines import adapter
from turnout.engines.local import LocalEngine
from turnout.engines.manifest import sha256_of
from turnout.errors import ConfigurationError, ModelError, UnknownNameError
from turnout.training import attention, fitting, lora, stages
from turnout.training.loss import answer_loss, collate
from turnout.training.recipe import Recipe
from turnout.training.tokens import TokenisedSheets
from turnout.types import GenerationParams

pytest.importorskip("peft")
load_file = pytest.importorskip("safetensors.torch").load_file

RECIPE = Recipe(
    max_tokens=512, batch_tokens=1024, among_tokens=(60, 120), rank=4, alpha=8, kept=0.5, learning_rate=5e-3
)
GREEDY = GenerationParams(max_tokens=12)


@pytest.fixture(scope="module", autouse=True)
def _several_batches_a_step() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "MICRO_TOKENS", 512)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(model, data, finished run)"""
    root = tmp_path_factory.mktemp("reader")
    model = tiny_models.build(root / "tiny", max_position_embeddings=1024, initializer_range=0.05)
    data = training_data.write(root / "data", *training_data.rows())
    train.reader(data, root / "run", str(model), recipe=RECIPE, limit=6, device="cpu")
    return model, data, root / "run"


def test_a_run_leaves_adapter_card_curve_and_scores(folders: tuple[Path, Path, Path]) -> None:
    model, _, run = folders
    card = json.loads((run / "adapter/card.json").read_text())
    found = adapter.read(run / "adapter")
    assert card["sha256"] == sha256_of(run / "adapter" / adapter.WEIGHTS)
    assert (found.base, found.scale) == ("tiny", 2.0)
    assert sum(card["lessons"].values()) == 16 and all(name.startswith("lamps, ") for name in card["lessons"])
    assert card["recipe"]["seed"] == 1 and card["training"]["steps"] > 1
    assert str(model) not in (run / "adapter/adapter_config.json").read_text()
    rows = [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert len(losses) > 2 and losses[-1] < losses[0]
    scores = json.loads((run / "valid.json").read_text())
    tasks = {"lamps", "lamps, clear", "lamps, 546 tokens", "lamps, 546 tokens, clear", "refusals"}
    assert set(scores["plain"]) == set(scores["trained"]) == tasks
    decode = LocalEngine(model, device="cpu").tokenizer.decode
    for state, numbered in (("trained", True), ("plain", False)):
        asked = [decode(sheet.prompt) for sheet in TokenisedSheets.load(run / stages.ASKED[state])]
        assert asked and all(("[1] " in text) == numbered for text in asked)


def test_a_finished_run_is_only_read(folders: tuple[Path, Path, Path]) -> None:
    model, data, run = folders
    weights = (run / "adapter" / adapter.WEIGHTS).stat().st_mtime_ns
    again = train.reader(data, run, str(model), recipe=RECIPE, limit=6, device="cpu")
    assert again == json.loads((run / "valid.json").read_text())
    assert (run / "adapter" / adapter.WEIGHTS).stat().st_mtime_ns == weights


def test_other_options_are_refused_for_a_run(folders: tuple[Path, Path, Path]) -> None:
    model, data, run = folders
    with pytest.raises(ConfigurationError, match="holds a run with rank 4, not 8"):
        train.reader(data, run, str(model), recipe=replace(RECIPE, rank=8), limit=6, device="cpu")


def test_data_that_changed_is_another_run(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, run = folders
    changed = training_data.write(tmp_path, *training_data.rows(25))
    with pytest.raises(ConfigurationError, match="holds a run with data"):
        train.reader(changed, run, str(model), recipe=RECIPE, limit=6, device="cpu")


def test_a_prepared_run_is_only_used_with_its_model(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, _ = folders
    assert train.reader(data, tmp_path, str(model), recipe=RECIPE, limit=6, device="cpu", prepare_only=True) == {}
    assert not (tmp_path / "adapter").exists() and (tmp_path / stages.LESSONS).is_file()
    other = tiny_models.build(tmp_path / "other/tiny", hidden_size=64, max_position_embeddings=1024)
    with pytest.raises(ModelError, match=r"was prepared for tiny, and .* holds another model"):
        stages.run(other, tmp_path, "cpu", lambda *_: None)


def test_examples_over_the_window_are_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, _ = folders
    with pytest.raises(ConfigurationError, match=r"max_tokens is 1,000, and tiny has a window of 1,024"):
        train.reader(data, tmp_path, str(model), recipe=replace(RECIPE, max_tokens=1000), device="cpu")


def test_data_without_answers_is_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    contexts, examples = training_data.rows()
    for example in examples:
        if example["fold"] == "valid":
            example |= {"answers": [], "answer_type": "unanswerable", "answer_sentences": []}
    with pytest.raises(ConfigurationError, match="no question with a short answer in the fold 'valid'"):
        train.reader(
            training_data.write(tmp_path / "d", contexts, examples), tmp_path / "r", str(folders[0]), recipe=RECIPE
        )


def test_unknown_datasets_are_named(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, _ = folders
    with pytest.raises(UnknownNameError, match="lamp"):
        train.reader(data, tmp_path, str(model), recipe=replace(RECIPE, limits=(("lamp", 3),)), device="cpu")


def test_a_sheet_teaches_what_its_lessons_teach_one_by_one(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = lora.wrap(AutoModelForCausalLM.from_pretrained(folders[0], dtype=torch.float32), RECIPE, "tiny").eval()
    text = list(range(3, 60))
    pairs = [([*text, 70, 71], [80, 81, 2]), ([*text, 72], [82, 2]), ([*text, 70, 73, 74, 75], [83, 84, 85, 2])]

    def loss(sheets: TokenisedSheets) -> Any:
        with torch.inference_mode():
            return answer_loss(model, collate(sheets)(list(range(len(sheets)))))

    more = [*text, 72, *text[::-1]]
    other = [(more, [7, 2]), ([*more, 77], [78, 79, 2])]
    apart = loss(TokenisedSheets.of([pair] for pair in [*pairs, *other]))
    masked = loss(TokenisedSheets.of([pairs, other]))
    shared, attend = [], attention.attend
    monkeypatch.setattr(attention, "attend", lambda *a, **k: shared.append(k["shared"]) or attend(*a, **k))
    attention.use(model.get_base_model())
    together = loss(TokenisedSheets.of([pairs, other]))
    unlike = loss(TokenisedSheets.of([pairs, [([*more[:-1], 73], [7, 2]), other[1]]]))
    assert torch.allclose(masked, apart, atol=1e-5)
    assert torch.allclose(together, apart, atol=1e-5)
    assert set(shared) == {57}, "the text of the shorter sheet"
    assert not torch.allclose(together, unlike, atol=1e-5)


def test_merging_equals_peft(folders: tuple[Path, Path, Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, _, run = folders
    ids = torch.arange(3, 40)[None]
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    before = plain(ids).logits
    expected = PeftModel.from_pretrained(plain, str(run / "adapter")).merge_and_unload()(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapter.merge(merged, adapter.read(run / "adapter"), "tiny")
    assert torch.allclose(merged(ids).logits, expected, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-2)


def test_the_engine_reads_with_the_adapter(folders: tuple[Path, Path, Path]) -> None:
    model, _, run = folders
    plain = LocalEngine(model, device="cpu")
    adapted = LocalEngine(model, device="cpu", adapter=run / "adapter")
    assert plain.model.adapter is None and adapted.model.adapter == "reader1"
    assert adapted.model.fingerprint != plain.model.fingerprint
    assert (plain.prompt_format.name, adapted.prompt_format.name) == ("plain", "numbered")
    assert text_of(adapted.generate(context(), GREEDY))
    ids = plain.encode(context())
    assert (adapted.sequence().append(ids) - plain.sequence().append(ids)).abs().max() > 0.01


def test_an_adapter_of_another_model_is_refused_with_both_names(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    other = tiny_models.build(tmp_path / "other", hidden_size=64)
    with pytest.raises(ModelError, match="trained on tiny, not on other"):
        _ = LocalEngine(other, device="cpu", adapter=folders[2] / "adapter").model


@pytest.mark.parametrize(
    ("name", "reason"),
    [(adapter.WEIGHTS, "is missing"), (adapter.CARD, "card.json is missing"), (adapter.CONFIG, "adapter_config.json")],
)
def test_an_adapter_with_a_missing_file_is_named(
    folders: tuple[Path, Path, Path], tmp_path: Path, name: str, reason: str
) -> None:
    shutil.copytree(folders[2] / "adapter", tmp_path / "adapter")
    (tmp_path / "adapter" / name).unlink()
    with pytest.raises(ModelError, match=reason):
        adapter.read(tmp_path / "adapter")


def test_damaged_adapter_weights_are_named(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    shutil.copytree(folders[2] / "adapter", tmp_path / "adapter")
    (tmp_path / "adapter" / adapter.WEIGHTS).write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match="can't be read"):
        LocalEngine(folders[0], device="cpu", adapter=tmp_path / "adapter").open()


def test_a_model_of_the_same_size_with_other_weights_is_refused(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    other = tiny_models.build(tmp_path / "twin", seed=7, max_position_embeddings=1024, initializer_range=0.05)
    with pytest.raises(ModelError, match="trained on tiny, not on twin"):
        LocalEngine(other, device="cpu", adapter=folders[2] / "adapter").open()


def test_a_model_without_layers_for_lora_is_named(tmp_path: Path) -> None:
    import torch

    with pytest.raises(ModelError, match=r"flat .* has no layers that LoRA could be put on"):
        lora.wrap(flat_model(torch), RECIPE, "flat")


@pytest.mark.parametrize(
    ("name", "config", "what"),
    [
        ("mistral", {"sliding_window": 100}, "sliding_window 100 below 512 tokens"),
        ("gemma2", {"head_dim": 8}, "final_logit_softcapping"),
        ("gpt2", {}, "fan_in_fan_out"),
    ],
)
def test_a_model_that_training_does_not_know_is_refused_at_once(name: str, config: dict[str, Any], what: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    made = AutoConfig.for_model(name, vocab_size=64, num_key_value_heads=2, **sizes, **config)
    with pytest.raises(ModelError, match=what):
        lora.wrap(AutoModelForCausalLM.from_config(made), RECIPE, name)


def flat_model(torch: Any) -> Any:
    """A language model that is an embedding alone."""
    from transformers import PretrainedConfig, PreTrainedModel

    class Flat(PreTrainedModel):
        config_class = PretrainedConfig

        def __init__(self) -> None:
            super().__init__(PretrainedConfig())
            self.embedding = torch.nn.Embedding(8, 4)

        def get_output_embeddings(self) -> Any:
            return None

    return Flat()


def test_a_stopped_run_goes_on_to_the_same_adapter(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, whole = folders
    seen: list[int] = []

    def stopping(stage: str, done: int, total: int) -> None:
        if stage == "training":
            seen.append(done)
            if done == total // 2 and seen.count(done) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.reader(data, tmp_path / "run", str(model), recipe=RECIPE, limit=6, device="cpu", progress=stopping)
    assert not (tmp_path / "run/adapter").exists()
    train.reader(data, tmp_path / "run", str(model), recipe=RECIPE, limit=6, device="cpu", progress=stopping)
    assert seen.count(1) == 1, "it began anew"
    first, second = (load_file(run / "adapter" / adapter.WEIGHTS) for run in (whole, tmp_path / "run"))
    assert all((first[name] - second[name]).abs().max() < 1e-3 for name in first)


def test_training_goes_on_from_an_adapter(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, run = folders
    gentle = replace(RECIPE, learning_rate=1e-9)
    train.reader(data, tmp_path / "on", str(model), recipe=gentle, start=run / "adapter", limit=2, device="cpu")
    before, after = (load_file(folder / "adapter" / adapter.WEIGHTS) for folder in (run, tmp_path / "on"))
    assert all((before[name].float() - after[name].float()).abs().max() < 1e-3 for name in before)
    with pytest.raises(ConfigurationError, match="holds a run with start"):
        train.reader(data, tmp_path / "on", str(model), recipe=gentle, limit=2, device="cpu")
    with pytest.raises(ModelError, match="is of rank 4"):
        wider = replace(gentle, rank=8, alpha=16)
        train.reader(data, tmp_path / "wide", str(model), recipe=wider, start=run / "adapter", limit=2, device="cpu")
    with pytest.raises(ModelError, match="has the scale 2"):
        other = replace(gentle, alpha=4)
        train.reader(data, tmp_path / "other", str(model), recipe=other, start=run / "adapter", limit=2, device="cpu")

"""Soft tokens of the local engine: what they are, and that they are read as what they stand for."""

import dataclasses
from pathlib import Path

import pytest
import torch
from support import adapters, soft, tiny_models
from support.soft import softened
from support.tiny_models import context, text_of

from turnout.config import Settings
from turnout.engines import adapter, open_engine
from turnout.engines.local import LocalEngine
from turnout.errors import ConfigurationError, EngineError, ModelError
from turnout.types import Finished, GenerationParams, Message

TEXT = "the light stands on the island and shines at night over the sea, the island is far from the shore. " * 2
PARAMS = GenerationParams(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("soft") / "tiny")


def engine(folder: Path, kind: str = "mean:2", **options) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="float32", soft=kind, **options)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return soft.weights(tmp_path_factory.mktemp("weights") / "soft", engine(folder))


def values(made: LocalEngine, pieces: list[list[int]]) -> list[torch.Tensor]:
    return [torch.frombuffer(bytearray(each), dtype=torch.float32).view(-1, 32) for each in made.soften(pieces)]


def test_embeddings_passed_through_give_the_logits_of_the_text(folder: Path) -> None:
    made = engine(folder, "mean:1")
    given = context(TEXT, TEXT[::-1], question="Where is it?")
    read = softened(made, given)
    plain, soft_ids = made.encode(given), made.encode(read)
    assert len(plain) == len(soft_ids) and made.count(read) == len(plain)
    assert (
        read.soft_tokens
        == sum(token >= 1 << 31 for token in soft_ids)
        == sum(len(made.placed(part.text)[0]) for part in given.parts)
    )
    with made.sequence() as first, made.sequence() as second:
        assert torch.equal(first.prefill(plain), second.prefill(*made.soft_prompt(read)))
    assert text_of(made.generate(read, PARAMS)) == text_of(made.generate(given, PARAMS))


@pytest.mark.parametrize("rate", [2, 4])
def test_the_mean_of_embeddings_has_their_norm(folder: Path, rate: int) -> None:
    made = engine(folder, f"mean:{rate}")
    (found,) = values(made, [[5, 6, 7, 8, 9]])
    rows = made._opened().network.get_input_embeddings().weight[[5, 6, 7, 8, 9]]
    assert len(found) == made.soft_kind().count(5)
    groups = rows.split(rate)
    for value, group in zip(found, groups, strict=True):
        assert torch.allclose(value.norm(), group.norm(dim=1).mean(), rtol=1e-5)
        assert torch.allclose(value / value.norm(), group.mean(0) / group.mean(0).norm(), atol=1e-6)
    assert torch.equal(found[-1], rows[4])


@pytest.mark.parametrize("kind", ["mean", "trained"])
def test_a_piece_is_the_same_whatever_stands_beside_it(folder: Path, trained: Path, kind: str) -> None:
    made = engine(folder, "mean:2" if kind == "mean" else str(trained))
    pieces = [list(range(3, 3 + length)) for length in (20, 7, 20, 1, 7, 20)]
    together = values(made, pieces)
    assert [len(each) for each in together] == [10, 4, 10, 1, 4, 10]
    for piece, value in zip(pieces, together, strict=True):
        assert torch.allclose(values(made, [piece])[0], value, atol=1e-6)
    for before, after in zip(together, reversed(values(made, pieces[::-1])), strict=True):
        assert torch.allclose(before, after, atol=1e-6)
    assert made.soften([]) == []


def test_no_position_is_padding(folder: Path, trained: Path) -> None:
    made = engine(folder, str(trained))
    made.open()
    read = []
    hook = made._opened().network.base_model.register_forward_pre_hook(
        lambda module, args, given: read.append(given["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    lengths = [1 + number % 20 for number in range(1000)]
    made.soften([[5] * length for length in lengths])
    hook.remove()
    assert sum(read) == sum(length + -(-length // 2) for length in lengths)
    assert len(read) <= 20


def test_trained_weights_add_to_the_mean_and_leave_the_model_as_it_was(folder: Path, tmp_path: Path) -> None:
    silent = engine(folder, str(soft.weights(tmp_path / "silent", engine(folder), linear=0.0)))
    loud = engine(folder, str(soft.weights(tmp_path / "loud", engine(folder), linear=0.5)))
    piece = [list(range(5, 16))]
    mean = values(engine(folder), piece)[0]
    before = text_of(loud.generate(context(TEXT), PARAMS))
    (found,) = values(loud, piece)
    assert torch.allclose(values(silent, piece)[0], mean, atol=1e-6)
    assert not torch.allclose(found, mean, atol=1e-2)
    assert torch.allclose(found.norm(dim=1), mean.norm(dim=1), rtol=1e-4)
    with loud.sequence() as here, engine(folder).sequence() as there:
        assert torch.equal(here.prefill([5, 6, 7]), there.prefill([5, 6, 7]))
    loud.forget()
    assert text_of(loud.generate(context(TEXT), PARAMS)) == before
    assert loud.soft_kind().fingerprint != silent.soft_kind().fingerprint


def test_a_readers_adapter_has_no_part_in_soft_tokens(folder: Path, trained: Path, tmp_path: Path) -> None:
    plain = engine(folder, str(trained))
    plain.open()
    with_reader = engine(
        folder,
        str(trained),
        adapter=adapters.build(
            tmp_path / "a", plain._opened().network, adapter.identity(plain.folder, plain._opened().network)
        ),
    )
    list(with_reader.generate(context(TEXT), PARAMS))  # which switches it on
    piece = [list(range(5, 16))]
    assert torch.equal(values(with_reader, piece)[0], values(plain, piece)[0])
    given = softened(plain, context(TEXT))
    assert with_reader.soft_kind() == plain.soft_kind()
    assert text_of(with_reader.generate(given, PARAMS)) == text_of(plain.generate(given, PARAMS))


def test_what_was_read_is_not_read_again_and_answers_are_written_together_too(folder: Path) -> None:
    made = engine(folder)
    first = softened(made, context(TEXT * 2, question="Where?"))
    second = dataclasses.replace(first, question="When does it shine?", history=())
    alone = [text_of(made.generate(each, PARAMS)) for each in (first, second)]
    finished = next(event for event in made.generate(second, PARAMS) if isinstance(event, Finished))
    assert finished.prompt_tokens == made.count(second)
    assert finished.cached_tokens > 0.5 * finished.prompt_tokens
    assert made.resident(first) > 0
    made.forget()
    assert made.answer_all([first, second], PARAMS) == alone


def test_documents_stand_where_they_belong(folder: Path) -> None:
    made = engine(folder, "mean:1")
    history = (Message("user", "\ue0f40\ue0f5 and more"), Message("assistant", "yes"))
    given = dataclasses.replace(context("one text", "", question="Which?"), history=history)
    assert len(made.encode(softened(made, given))) == len(made.encode(given))


def test_soft_tokens_of_another_kind_are_refused(folder: Path, trained: Path) -> None:
    other = softened(engine(folder, "mean:4"), context(TEXT))
    made = engine(folder)
    with pytest.raises(EngineError, match="mean:4"):
        made.count(other)
    broken = dataclasses.replace(softened(made, context(TEXT)), soft=((b"123",),))
    with pytest.raises(EngineError, match="3 bytes"):
        made.count(broken)


@pytest.mark.parametrize("setting", ["mean", "mean:3", "median:2", "", "no/such/folder"])
def test_a_setting_that_can_not_be_meant_is_refused(folder: Path, setting: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be made"):
        engine(folder, setting).soft_kind()


def test_weights_of_another_model_or_damaged_ones_are_refused(folder: Path, trained: Path, tmp_path: Path) -> None:
    wider = tiny_models.build(tmp_path / "wider", hidden_size=64)
    with pytest.raises(ModelError, match="trained on tiny"):
        engine(wider, str(trained)).soft_kind()
    twin = tiny_models.build(tmp_path / "twin", seed=1)
    with pytest.raises(ModelError, match="trained on tiny"):
        engine(twin, str(trained)).soften([[5, 6]])
    broken = soft.weights(tmp_path / "broken", engine(folder), rate=3)
    with pytest.raises(ModelError, match="rate 3"):
        engine(folder, str(broken)).soft_kind()
    cut = soft.weights(tmp_path / "cut", engine(folder))
    (cut / "linear.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="can't be read"):
        engine(folder, str(cut)).soften([[5, 6]])


def test_the_setting_reaches_the_engine(folder: Path, home: Path) -> None:
    made = open_engine(Settings.load(model=str(folder), soft="mean:4", device="cpu"))
    assert made.soft_kind().rate == 4
    assert made.soft_kind().fingerprint.startswith("soft/1/mean:4x20/")

"""A step without modules computes what the modules do, in int8 nearly so."""

import random
from typing import Any

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged import runner as runners  # noqa: E402
from turnout.engines.paged.kinds import MODEL_TYPES  # noqa: E402
from turnout.engines.paged.lean import ROWS, LeanModel, fits  # noqa: E402
from turnout.engines.paged.pages import PagePool  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402
from turnout.engines.paged.sequence import KvSequence  # noqa: E402

IDS = random.Random(1).choices(range(400), k=300)


def sequence(model: Any, **options: Any) -> KvSequence:
    pool = PagePool(kv.shape(model), 32, torch.float32, "cpu")
    return KvSequence(Runner(model, pool, "cpu", **options), Residency(pool))


def written(model: Any, **options: Any) -> Any:
    """Logits after each of some tokens that are read one by one, and then a few at once, after a prompt."""
    made = sequence(model, **options)
    made.prefill(IDS[:200])
    one_by_one = [made.append([token]) for token in IDS[200:230]]
    return torch.cat([*one_by_one, made.append(IDS[230 : 230 + ROWS], logits=range(ROWS))])


VARIANTS = [
    *((name, {}) for name in kv.ARCHITECTURES),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"hidden_act": "gelu"}),
    ("phi", {"qk_layernorm": True}),
    ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_without_modules_it_computes_the_same(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lean = written(kv.network(name, **options))
    monkeypatch.setattr(runners, "ROWS", 0)
    assert (lean - written(kv.network(name, **options))).abs().max() < 1e-4


def test_it_is_used_for_few_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    step = LeanModel.step
    monkeypatch.setattr(LeanModel, "step", lambda self, ids, *rest: rows.append(len(ids)) or step(self, ids, *rest))
    made = sequence(kv.network())
    made.prefill(IDS)
    made.append([5])
    made.append(IDS[: ROWS + 1])
    assert rows == [1]


def test_models_of_another_kind_keep_their_modules() -> None:
    assert not fits({**kv.network().config.to_dict(), "model_type": "gpt_neox"})
    assert not fits({**kv.network().config.to_dict(), "quantization_config": {"quant_method": "fp8"}})
    assert all(fits(kv.network(name).config.to_dict()) for name in MODEL_TYPES)


def test_the_modules_hold_views_of_the_joined_matrices() -> None:
    model = kv.network()
    before = model(torch.tensor([IDS])).logits
    LeanModel(model, int8=False)
    attention = model.model.layers[0].self_attn
    storages = {layer.weight.untyped_storage().data_ptr() for layer in (attention.q_proj, attention.k_proj)}
    assert len(storages) == 1
    assert torch.equal(before, model(torch.tensor([IDS])).logits)


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi", "phi3"])
def test_int8_weights_change_little(name: str) -> None:
    exact, rounded = written(kv.network(name)), written(kv.network(name), int8=True)
    error = (exact - rounded).norm() / exact.norm()
    assert 1e-4 < error < 0.1

"""The probe's sums by key and by distance equal those of the written-out softmax."""

from __future__ import annotations

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.vs_probe import blocked, naive, triton  # noqa: E402
from turnout.kernels.vs_probe.api import vs_probe  # noqa: E402

INTERPRETED = {"parts": 2, "scratch": torch.float32, "block_n": 32}


def case(rows=16, keys=70, heads=4, kv_heads=2, dim=32, stride=1, seed=0):
    """Every stride-th of the last queries."""
    random = torch.Generator().manual_seed(seed)
    positions = (keys - 1 - torch.arange(rows) * stride).flip(0).clamp(min=0).int()
    shapes = (rows, heads, dim), (keys, kv_heads, dim)
    query, key = (torch.randn(shape, generator=random) for shape in shapes)
    return query, positions, key


def truth(query, positions, key, **options):
    return naive.vs_probe(query.double(), positions, key.double(), **options)


@settings(max_examples=8, deadline=None)
@given(
    rows=st.sampled_from([1, 16, 20]),
    keys=st.sampled_from([20, 64, 70]),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    stride=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_plain_torch(rows, keys, heads, stride, seed):
    inputs = case(rows, keys, *heads, stride=stride, seed=seed)
    wanted = truth(*inputs, scale=0.3)
    close(blocked.vs_probe(*inputs, scale=0.3), wanted)
    close(triton.vs_probe(*inputs, scale=0.3, **INTERPRETED), wanted)


def test_heads_take_turns_where_the_scratch_is_small():
    inputs = case(heads=3, kv_heads=1)
    few = triton.vs_probe(*inputs, scale=0.3, **INTERPRETED, most_scratch=2 * 16 * 70 * 4)
    close(few, truth(*inputs, scale=0.3))


def test_half_precision_with_the_scratch_of_a_gpu():
    query, positions, key = case()
    inputs = query.half(), positions, key.half()
    wanted = truth(*inputs, scale=0.3)
    close(triton.vs_probe(*inputs, scale=0.3, **INTERPRETED | {"scratch": torch.bfloat16}), wanted, 5e-3)
    close(vs_probe(*inputs, scale=0.3), wanted, 2e-3)


def test_planted_lines_stand_out_and_masses_sum_up_to_the_rows():
    query, positions, key = case(heads=1, kv_heads=1, dim=64)
    key = torch.nn.functional.normalize(key, dim=-1)
    for row, position in enumerate(positions.tolist()):
        query[row, 0] = 20 * (key[5, 0] + key[position - 9, 0])
    columns, diagonals = vs_probe(query, positions, key, scale=1.0)
    assert columns.sum() == pytest.approx(16, rel=1e-5) and diagonals.sum() == pytest.approx(16, rel=1e-5)
    assert int(columns[0].argmax()) == 5 and int(diagonals[0].argmax()) == 9
    assert columns[0, 5] > 4 and diagonals[0, 9] > 4


WRONG = {
    "do not fit together": lambda q, p, k: (q[..., :16], p, k),
    "can't share": lambda q, p, k: (q[:, :3], p, k),
    "heads of 24 numbers": lambda q, p, k: case(dim=24),
    "one type of": lambda q, p, k: (q, p, k.half()),
    "probe_pos is torch.int64": lambda q, p, k: (q, p.long(), k),
    "several devices": lambda q, p, k: (q, p, k.to("meta")),
    "k has strides": lambda q, p, k: (q, p, k.transpose(0, 2).contiguous().transpose(0, 2)),
    "129 rows": lambda q, p, k: case(129),
    "probe_pos holds 70": lambda q, p, k: (q, p + 1, k),
    "probe_pos holds -1": lambda q, p, k: (q, p - 55, k),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        vs_probe(*WRONG[said](*case()), scale=0.3)


def builds(rows, dim):
    module, padded = "turnout.kernels.vs_probe.triton", triton.tile_rows(rows)
    boxes = {"q": f"tensordesc<bf16[1,{padded},{dim}]>", "k": f"tensordesc<bf16[1,128,{dim}]>"}
    numbers = {"positions": "*i32", **dict.fromkeys(("rows", "keys", "first_head"), "i32")}
    shape = {"GROUP": 4, "DIM": dim, "ROWS": padded, "BLOCK_N": 128, "UPCAST": False}
    products = boxes | numbers | {"part": "*fp32", "scale": "fp32"}
    stores = {"weights": "*bf16", "columns": "*fp32"}
    yield Build(module, "_lse", products, shape, triton.config(padded))
    yield Build(module, "_weights", products | stores, shape | {"PARTS": 8}, triton.config(padded))
    sums = numbers | {"weights": "*bf16", "diagonals": "*fp32"}
    yield Build(module, "_diagonals", sums, {"BLOCK_N": 128}, {"num_warps": 4})


def test_it_compiles_for_sm_90_with_tma_and_wgmma_and_without_spills():
    wanted = [*builds(64, 128), *builds(128, 64)]
    for build, built in zip(wanted, compiled(wanted), strict=True):
        assert built.fits, (build.kernel, built)
        if build.kernel != "_diagonals":
            assert built.tma and built.matrix == ["wgmma"]

"""Attention of the newest tokens over pages: the kernel, in the interpreter, equals plain torch in float64."""

from __future__ import annotations

import pytest
from support.kernels import Build, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_decode import naive, triton  # noqa: E402
from turnout.kernels.attn_decode.api import attn_decode  # noqa: E402

PAGE = 16


def case(lengths, newest=1, heads=4, kv_heads=2, dim=32, dtype=torch.float32, seed=0):
    """Inputs over a pool whose pages are handed out in no order; what is not used is not a number."""
    random = torch.Generator().manual_seed(seed)
    tables = [-(-length // PAGE) for length in lengths]
    pages = sum(tables) + 3
    order = torch.randperm(pages, generator=random).tolist()
    block_table = torch.zeros(len(lengths), max([*tables, 1]) + 2, dtype=torch.int32)
    keys, values = (torch.full((pages * PAGE, kv_heads, dim), torch.nan, dtype=dtype) for _ in "kv")
    for item, (count, length) in enumerate(zip(tables, lengths, strict=True)):
        own = [order.pop() for _ in range(count)]
        block_table[item, :count] = torch.tensor(own, dtype=torch.int32)
        for at in range(length):
            slot = own[at // PAGE] * PAGE + at % PAGE
            for pool in (keys, values):
                pool[slot] = torch.randn(kv_heads, dim, generator=random).to(dtype)
    query = torch.randn(len(lengths), newest, heads, dim, generator=random).to(dtype)
    return query, keys, values, block_table, torch.tensor(lengths, dtype=torch.int32)


def close(found, wanted, error):
    """Outputs by relative error, sums of softmax where there are any."""
    output, sums = found
    truth, true_sums = wanted
    assert output.isfinite().all()
    assert (output.double() - truth).norm() <= error * max(float(truth.norm()), 1e-6)
    assert torch.equal(sums.isinf(), true_sums.isinf())
    seen = true_sums.isfinite()
    assert (sums[seen].double() - true_sums[seen]).abs().max() <= error * 10 if seen.any() else True


def truth(inputs, **options):
    query, keys, values, *rest = inputs
    return naive.attn_decode(query.double(), keys.double(), values.double(), *rest, **options)


OPTIONS = {"scale": 0.2, "page": PAGE}


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 150), min_size=1, max_size=3),
    newest=st.sampled_from([1, 2, 5]),
    heads=st.sampled_from([(4, 2), (3, 3), (7, 1)]),
    window=st.sampled_from([None, 1, 20, 300]),
    parts=st.sampled_from([1, 4, 8]),
    seed=st.integers(0, 99),
)
def test_the_kernel_equals_plain_torch(lengths, newest, heads, window, parts, seed):
    inputs = case(lengths, newest, *heads, seed=seed)
    found = triton.attn_decode(*inputs, **OPTIONS, window=window, parts=parts, interpreted=True)
    close(found, truth(inputs, **OPTIONS, window=window), 1e-5)


def test_half_precision(dtype=torch.float16):
    inputs = case([100, 33], newest=2, dtype=dtype)
    found = triton.attn_decode(*inputs, **OPTIONS, interpreted=True)
    close(found, truth(inputs, **OPTIONS), 2e-3)


def test_a_query_that_is_a_view_of_something_larger():
    query, *rest = case([70, 40], newest=2)
    wide = torch.randn(2, 2, 9, 32)
    wide[:, :, 2:6] = query
    found = triton.attn_decode(wide[:, :, 2:6], *rest, **OPTIONS, interpreted=True)
    close(found, truth((query, *rest), **OPTIONS), 1e-5)


def test_a_large_score_does_not_overflow():
    query, *rest = case([90])
    inputs = (query * 1e3, *rest)
    found = triton.attn_decode(*inputs, **OPTIONS, interpreted=True)
    close(found, truth(inputs, **OPTIONS), 1e-3)


def test_the_public_function_on_a_cpu():
    inputs = case([50, 3], newest=2)
    close(attn_decode(*inputs, **OPTIONS), truth(inputs, **OPTIONS), 1e-5)


def test_plain_torch_is_softmax_over_all_keys():
    query, keys, values, table, lengths = case([45], heads=2, kv_heads=2)
    slots = table[0].long().repeat_interleave(PAGE)[:45] * PAGE + torch.arange(45) % PAGE
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query[0].transpose(0, 1), keys[slots].transpose(0, 1), values[slots].transpose(0, 1), scale=0.2
    )
    output, _ = naive.attn_decode(query, keys, values, table, lengths, **OPTIONS)
    assert (output[0].transpose(0, 1) - wanted).abs().max() < 1e-6


WRONG = {
    "do not fit together": lambda q, k, v, t, n: (q[..., :16], k, v, t, n),
    "can't share": lambda q, k, v, t, n: (q[:, :, :3].repeat(1, 1, 1, 1), k, v, t, n),
    "one float type": lambda q, k, v, t, n: (q, k.double(), v.double(), t, n),
    "must be int32": lambda q, k, v, t, n: (q, k, v, t.long(), n),
    "not of 2 sequences": lambda q, k, v, t, n: (q, k, v, t[:1], n),
    "over 128 rows": lambda q, k, v, t, n: (q.repeat(1, 65, 1, 1), k, v, t, n),
    "together in memory": lambda q, k, v, t, n: (q, k.transpose(0, 2).contiguous().transpose(0, 2), v, t, n),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        attn_decode(*WRONG[said](*case([50, 20])), **OPTIONS)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"page": 24}, "powers of two"), ({"parts": 3}, "powers of two"), ({"window": 0}, "sees nothing")],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(KernelError, match=said):
        attn_decode(*case([50, 20]), **{**OPTIONS, **options})


POINTERS = dict.fromkeys(("query", "keys", "values"), "*bf16")
NUMBERS = {
    "tables": "*i32", "lengths": "*i32", "partial": "*fp32", "sums": "*fp32", "scale": "fp32", "window": "i32",
    **{f"stride_{name}": "i32" for name in ("item", "row", "head", "slot", "kv_head", "table")},
}  # fmt: skip


MODULE = "turnout.kernels.attn_decode.triton"


def build(newest, group, dim, windowed):
    rows = triton.tile_rows(newest, group)
    constants = {"NEWEST": newest, "GROUP": group, "ROWS": rows, "DIM": dim, "PAGE": 64, "WINDOWED": windowed,
                 "UPCAST": False}  # fmt: skip
    return Build(MODULE, "_partial", POINTERS | NUMBERS, constants, triton.config(rows, dim))


def test_it_compiles_for_sm_90_without_spills():
    shapes = [(1, 4, 128), (11, 4, 128), (1, 3, 64), (1, 8, 64), (16, 1, 256), (32, 4, 128)]
    builds = [build(*shape, windowed) for shape in shapes for windowed in (False, True)]
    merged = {"partial": "*fp32", "sums": "*fp32", "output": "*bf16", "natural": "*fp32"}
    builds.append(Build(MODULE, "_merge", merged, {"PARTS": 64, "GROUP": 4, "ROWS": 16, "DIM": 128}, {"num_warps": 4}))
    for wanted, built in zip(builds, compiled(builds), strict=True):
        assert built.fits, (wanted.constants, built)
        if wanted.kernel == "_partial":
            assert built.matrix == (["wgmma"] if wanted.constants["ROWS"] >= 64 else ["mma.sync"])

"""Attention of the newest tokens over pages: the kernel, in the interpreter, equals plain torch in float64."""

from __future__ import annotations

import pytest
from support.kernels import SHARED_BYTES, Build, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_decode import blocked, naive, triton  # noqa: E402
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
    wanted = truth(inputs, **OPTIONS, window=window)
    close(triton.attn_decode(*inputs, **OPTIONS, window=window, parts=parts, interpreted=True), wanted, 1e-5)
    close(blocked.attn_decode(*inputs, **OPTIONS, window=window), wanted, 1e-5)


@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0, 20, 90]), min_size=2, max_size=2),
    newest=st.sampled_from([1, 5]),
    window=st.sampled_from([None, 40]),
    drafted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_chosen_pages_and_drafted_trees(lengths, newest, window, drafted, seed):
    random = torch.Generator().manual_seed(seed)
    inputs = paged(case(lengths, newest, seed=seed))
    ids = torch.stack([torch.randperm(8, generator=random)[:5] for _ in range(4)]).view(2, 2, 5).int()
    ids[ids == 7] = -1
    # Each drafted token sees its parent and what that one saw; some have none.
    tree = torch.ones(2, newest, dtype=torch.int64)
    for row in range(1, newest):
        parent = int(torch.randint(-1, row, (1,), generator=random))
        tree[:, row] = 1 << row | (tree[:, parent] if parent >= 0 else 0)
    options = {**OPTIONS, "window": window, "page_ids": ids, "tree_mask": tree if drafted else None}
    wanted = truth(inputs, **options)
    close(triton.attn_decode(*inputs, **options, parts=2, interpreted=True), wanted, 1e-5)
    close(blocked.attn_decode(*inputs, **options), wanted, 1e-5)


def paged(inputs):
    """The same pool as pages of [pages, 2, heads, tokens, dim]."""
    query, keys, values, *rest = inputs
    pages = torch.stack([pool.unflatten(0, (-1, PAGE)).transpose(1, 2) for pool in (keys, values)], 1).contiguous()
    return query, pages[:, 0].transpose(1, 2), pages[:, 1].transpose(1, 2), *rest


def test_pages_of_both_layouts_give_the_same():
    inputs = case([90, 35], newest=2)
    wanted = truth(inputs, **OPTIONS)
    close(triton.attn_decode(*paged(inputs), **OPTIONS, interpreted=True), wanted, 1e-5)
    close(attn_decode(*paged(inputs), **OPTIONS), wanted, 1e-5)


def test_all_pages_chosen_in_any_order_are_dense_attention():
    inputs = case([90, 35], newest=2)
    ids = torch.randperm(7, generator=torch.Generator().manual_seed(1)).int().expand(2, 2, 7).contiguous()
    close(attn_decode(*inputs, **OPTIONS, page_ids=ids), truth(inputs, **OPTIONS), 1e-5)


def test_a_tree_is_verified_as_its_branches_one_by_one():
    """Tokens 0; 1 and 2 after it; 3 after 1; 4 after none: each branch as a sequence of its own."""
    query, keys, values, table, _ = case([41], newest=5)
    tree = torch.tensor([[0b00001, 0b00011, 0b00101, 0b01011, 0b10000]])
    lengths = torch.tensor([41], dtype=torch.int32)
    slots = [int(table[0, at // PAGE]) * PAGE + at % PAGE for at in range(41)]
    options = {**OPTIONS, "tree_mask": tree}
    output, sums = attn_decode(query, keys, values, table, lengths, **options)
    close(triton.attn_decode(query, keys, values, table, lengths, **options, interpreted=True), (output, sums), 1e-5)
    for branch in ([0, 1, 3], [0, 2], [4]):
        own = slots[:36] + [slots[36 + token] for token in branch]
        pages = -(-len(own) // PAGE)
        key, value = (torch.zeros(pages * PAGE, 2, 32) for _ in "kv")
        key[: len(own)], value[: len(own)] = keys[own], values[own]
        straight = torch.arange(pages, dtype=torch.int32)[None]
        length = torch.tensor([len(own)], dtype=torch.int32)
        alone, alone_sums = attn_decode(query[:, branch], key, value, straight, length, **OPTIONS)
        assert (output[:, branch] - alone).abs().max() < 1e-6 and (sums[:, branch] - alone_sums).abs().max() < 1e-5


def test_values_out_of_range_are_not_read():
    query, keys, values, table, lengths = case([60, 20])
    wild = table.clone()
    wild[0, 1], wild[0, 2] = 99, -5
    ids = torch.tensor([0, 3, 77, -9], dtype=torch.int32).expand(2, 2, 4).contiguous()
    for options in ({}, {"page_ids": ids}):
        output, _ = triton.attn_decode(query, keys, values, wild, lengths, **OPTIONS, **options, interpreted=True)
        kept = torch.tensor([0, 3], dtype=torch.int32).expand(2, 2, 2).contiguous()
        wanted, _ = truth((query, keys, values, table, lengths), **OPTIONS, page_ids=kept)
        assert (output[0] - wanted[0]).abs().max() < 1e-5


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
    "several devices": lambda q, k, v, t, n: (q, k, v, t, n.to("meta")),
    "heads of 24 numbers": lambda q, k, v, t, n: (q[..., :24], k[..., :24], v[..., :24], t, n),
    "together in memory": lambda q, k, v, t, n: (q, k.transpose(0, 2).contiguous().transpose(0, 2), v, t, n),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        attn_decode(*WRONG[said](*case([50, 20])), **OPTIONS)


WRONG_VALUES = {
    "seq_lens holds 500": lambda q, k, v, t, n: ((q, k, v, t, n + 450), {}),
    "seq_lens holds -": lambda q, k, v, t, n: ((q, k, v, t, n - 30), {}),
    "the table holds 99": lambda q, k, v, t, n: ((q, k, v, t * 0 + 99, n), {}),
    "the pages hold 16": lambda q, k, v, t, n: (paged((q, k, v, t, n)), {"page": 32}),
    "page_ids holds 6": lambda q, k, v, t, n: ((q, k, v, t, n), {"page_ids": chosen(0, 6)}),
    "page_ids holds -2": lambda q, k, v, t, n: ((q, k, v, t, n), {"page_ids": chosen(0, -2)}),
    "page_ids name a page twice": lambda q, k, v, t, n: ((q, k, v, t, n), {"page_ids": chosen(1, 1)}),
    "page_ids is torch.int64": lambda q, k, v, t, n: ((q, k, v, t, n), {"page_ids": chosen(1).long()}),
    "are not .2, 2, chosen": lambda q, k, v, t, n: ((q, k, v, t, n), {"page_ids": chosen(1)[:1]}),
    "tree mask .2, 3. is not": lambda q, k, v, t, n: ((q, k, v, t, n), {"tree_mask": torch.ones(2, 3).long()}),
    "tree_mask is torch.int32": lambda q, k, v, t, n: ((q, k, v, t, n), {"tree_mask": torch.ones(2, 1).int()}),
    "more than 64 bits": lambda q, k, v, t, n: (
        (q[:, :, :2].repeat(1, 65, 1, 1), k, v, t, n), {"tree_mask": torch.ones(2, 65).long()}
    ),
}  # fmt: skip


def chosen(*ids):
    return torch.tensor(ids, dtype=torch.int32).expand(2, 2, len(ids)).contiguous()


@pytest.mark.parametrize("said", WRONG_VALUES)
def test_wrong_values_are_refused_before_anything_runs(said):
    inputs, options = WRONG_VALUES[said](*case([50, 20]))
    with pytest.raises(KernelError, match=said):
        attn_decode(*inputs, **{**OPTIONS, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [({"page": 24}, "powers of two"), ({"parts": 3}, "powers of two"), ({"window": 0}, "sees nothing")],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(KernelError, match=said):
        attn_decode(*case([50, 20]), **{**OPTIONS, **options})


POINTERS = dict.fromkeys(("query", "keys", "values"), "*bf16")
NUMBERS = {
    "tables": "*i32", "lengths": "*i32", "chosen": "*i32", "tree": "*i64", "partial": "*fp32", "sums": "*fp32",
    "scale": "fp32", **dict.fromkeys(("window", "width", "listed", "count"), "i32"),
    **{f"stride_{name}": "i32" for name in ("item", "row", "head", "page", "slot", "kv_head", "table")},
}  # fmt: skip


MODULE = "turnout.kernels.attn_decode.triton"


def build(newest, group, dim, windowed=False, selected=False, tree=False, kind="bf16"):
    rows = triton.tile_rows(newest, group)
    constants = {"NEWEST": newest, "GROUP": group, "ROWS": rows, "DIM": dim, "PAGE": 64, "WINDOWED": windowed}
    constants |= {"SELECTED": selected, "TREE": tree, "UPCAST": False}
    options = triton.config(rows, dim, 4 if kind == "fp32" else 2)
    return Build(MODULE, "_partial", dict.fromkeys(POINTERS, f"*{kind}") | NUMBERS, constants, options)


@pytest.mark.slow
def test_every_size_of_heads_fits_sm_90():
    """In full precision, which is no way to be fast, registers may spill; a launch must not fail."""
    builds = [build(16, 8, dim, selected=True, tree=True) for dim in (16, 32, 64, 128, 256)]
    builds.append(build(1, 8, 256, kind="fp32"))
    for wanted, built in zip(builds, compiled(builds), strict=True):
        assert built.shared <= SHARED_BYTES, (wanted.constants, built)
        assert built.fits or wanted.signature["query"] == "*fp32", (wanted.constants, built)


def test_it_compiles_for_sm_90_without_spills():
    shapes = [(1, 4, 128), (11, 4, 128), (1, 3, 64), (16, 1, 256), (32, 4, 128)]
    builds = [build(*shape) for shape in shapes] + [build(*shape, windowed=True) for shape in shapes[1:3]]
    builds += [build(1, 4, 128, selected=True), build(11, 4, 128, selected=True, tree=True)]
    merged = {"partial": "*fp32", "sums": "*fp32", "output": "*bf16", "natural": "*fp32"}
    builds.append(Build(MODULE, "_merge", merged, {"PARTS": 64, "GROUP": 4, "ROWS": 16, "DIM": 128}, {"num_warps": 4}))
    for wanted, built in zip(builds, compiled(builds), strict=True):
        assert built.fits, (wanted.constants, built)
        if wanted.kernel == "_partial":
            assert built.matrix == (["wgmma"] if wanted.constants["ROWS"] >= 64 else ["mma.sync"])

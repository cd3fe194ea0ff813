"""Attention of many queries: kernel and torch path equal the written-out mask in float64."""

from __future__ import annotations

import dataclasses

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_prefill import blocked, naive, triton  # noqa: E402
from turnout.kernels.attn_prefill.api import attn_prefill  # noqa: E402
from turnout.kernels.shared import blocked as runs  # noqa: E402
from turnout.kernels.shared import checks  # noqa: E402
from turnout.kernels.shared.index import BlockIndex, from_mask  # noqa: E402

BLOCK = (32, 16)


def case(queries=70, keys=100, heads=4, kv_heads=2, dim=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = (queries, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


def lists(queries=70, keys=100, q_start=30, heads=4, density=0.5, causal=True, seed=0):
    """Random tiles; the first head's second block has none."""
    random = torch.Generator().manual_seed(seed)
    chosen = torch.rand(heads, -(-queries // BLOCK[0]), -(-keys // BLOCK[1]), generator=random) < density
    chosen[0, 1:2] = False
    return from_mask(chosen, *BLOCK, queries=queries, q_start=q_start, kv_len=keys, causal=causal)


def paged(k, v, page=16):
    """Pages in no order, no numbers where no token is."""
    count = -(-len(k) // page)
    table = torch.randperm(count + 2, generator=torch.Generator().manual_seed(1))[:count].int()
    pages = torch.full((count + 2, 2, k.shape[1], page, k.shape[2]), torch.nan)
    for at in range(len(k)):
        pages[table[at // page], :, :, at % page] = torch.stack((k[at], v[at]))
    return pages[:, 0], pages[:, 1], table


def truth(q, k, v, index=None, **options):
    return naive.attn_prefill(q.double(), k.double(), v.double(), index, **options)


def both(q, k, v, index=None, error=1e-5, **options):
    wanted = truth(q, k, v, index, scale=0.3, **options)
    close(triton.attn_prefill(q, k, v, index, scale=0.3, block=BLOCK, **options), wanted, error)
    close(blocked.attn_prefill(q, k, v, index, scale=0.3, **options), wanted, error)
    return wanted


@settings(max_examples=12, deadline=None)
@given(
    queries=st.sampled_from([1, 17, 64, 70]),
    past=st.sampled_from([0, 1, 45]),
    heads=st.sampled_from([(2, 2), (4, 1), (7, 1)]),
    window=st.sampled_from([None, 1, 20, 33]),
    sink=st.sampled_from([0, 5, 40]),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_without_a_list(queries, past, heads, window, sink, causal, seed):
    keys = queries + past
    inputs = case(queries, keys + 3, *heads, seed=seed)  # three keys too many in the buffer
    both(*inputs, q_start=past, kv_len=keys, window=window, sink=sink, causal=causal)


@settings(max_examples=12, deadline=None)
@given(
    queries=st.sampled_from([1, 40, 64]),
    past=st.sampled_from([0, 16, 45]),
    shared=st.sampled_from([4, 2, 1]),
    density=st.sampled_from([0.0, 0.4, 1.0]),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_over_a_list(queries, past, shared, density, causal, seed):
    keys = queries + past
    index = lists(queries, keys, past, shared, density, causal, seed)
    both(*case(queries, keys, seed=seed), index, q_start=past, kv_len=keys, causal=causal)


@pytest.mark.parametrize("options", [{}, {"window": 20, "sink": 5}, {"causal": False}])
def test_the_torch_path_of_other_devices(options, monkeypatch):
    """Which has no kernel of torch's that gives the sums."""
    monkeypatch.setattr(runs, "_flash", runs._products)
    q, k, v = case()
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100, **options}
    close(blocked.attn_prefill(q, k, v, **options), truth(q, k, v, **options))
    index = without_full(lists(causal=options.get("causal", True)))
    close(blocked.attn_prefill(q, k, v, index, **options), truth(q, k, v, index, **options))


def without_full(index):
    """All of its tiles get the mask."""
    return dataclasses.replace(index, n_full=torch.zeros_like(index.n_full))


def test_a_window_over_a_list():
    both(*case(), without_full(lists()), q_start=30, kv_len=100, window=20, sink=5)


def test_a_window_of_each_head():
    windows = torch.tensor([1, 30, 64, 2**31 - 1], dtype=torch.int32)
    both(*case(), q_start=30, kv_len=100, window=windows, sink=18)
    both(*case(), lists(), q_start=30, kv_len=100, window=None, sink=0)


def test_heads_of_128_numbers():
    both(*case(20, 40, dim=128), q_start=20, kv_len=40)


def test_pages_with_and_without_a_list():
    q, k, v = case()
    wanted = both(*paged_inputs(q, k, v), q_start=30, kv_len=100, block_table=paged(k, v)[2])
    close(wanted, truth(q, k, v, scale=0.3, q_start=30, kv_len=100), 1e-12)
    both(*paged_inputs(q, k, v), lists(), q_start=30, kv_len=100, block_table=paged(k, v)[2])


def test_tiles_and_pages_out_of_range_read_nothing():
    """A list with a tile that does not exist, masked, and a table with a page that does not."""
    q, k, v = case()
    k_pages, v_pages, table = paged(k, v)
    index = without_full(lists())
    wild = dataclasses.replace(index, indices=at(-1, 5000)(index.indices))
    kept = dataclasses.replace(index, indices=index.indices[:-1], indptr=at(-1, len(index.indices) - 1)(index.indptr))
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100, "block_table": table}
    wanted = truth(q, k_pages, v_pages, kept, **options)
    close(triton.attn_prefill(q, k_pages, v_pages, wild, **options), wanted)
    found, _ = triton.attn_prefill(q, k_pages, v_pages, **{**options, "block_table": at(0, 99)(table)}, block=BLOCK)
    assert found.isfinite().all()


def paged_inputs(q, k, v):
    return q, *paged(k, v)[:2]


def test_float16():
    q, k, v = (tensor.half() for tensor in case())
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100}
    wanted = truth(q, k, v, lists(), **options)
    close(triton.attn_prefill(q, k, v, lists(), **options), wanted, 2e-3)
    close(blocked.attn_prefill(q, k, v, lists(), **options), wanted, 2e-3)


def test_bfloat16():
    q, k, v = (tensor.bfloat16() for tensor in case())
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100}
    wanted = truth(q, k, v, lists(), **options)
    close(triton.attn_prefill(q, k, v, lists(), interpreted=True, **options), wanted, 5e-3)
    close(blocked.attn_prefill(q, k, v, lists(), **options), wanted, 2e-2)


def test_all_tiles_are_dense_attention_in_any_order():
    q, k, v = case(heads=1, kv_heads=1)
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100}
    index = from_mask(torch.ones(1, 3, 7, dtype=torch.bool), *BLOCK, queries=70, q_start=30, kv_len=100)
    dense = torch.nn.functional.scaled_dot_product_attention(
        *(tensor.double().transpose(0, 1) for tensor in (q, k, v)),
        torch.ones(70, 100, dtype=torch.bool).tril(30),
        scale=0.3,
    ).transpose(0, 1)
    turned = index.indices.clone()
    for row in range(3):
        begin, full = int(index.indptr[row]), int(index.n_full[row])
        turned[begin : begin + full] = turned[begin : begin + full].flip(0)
    for path in (triton, blocked):
        found = path.attn_prefill(q, k, v, index, **options)
        close(found[:1], [dense])
        again = path.attn_prefill(q, k, v, dataclasses.replace(index, indices=turned), **options)
        close(again, [tensor.double() for tensor in found], 1e-6)


@pytest.mark.parametrize("options", [{}, {"window": 24, "sink": 4}])
def test_chunks_equal_one_shot(options):
    q, k, v = case(96, 96)
    whole = truth(q, k, v, scale=0.3, kv_len=96, **options)
    for path in (triton, blocked):
        pieces = [
            path.attn_prefill(q[at : at + 32], k, v, scale=0.3, q_start=at, kv_len=at + 32, **options)
            for at in range(0, 96, 32)
        ]
        close((torch.cat([o for o, _ in pieces]), torch.cat([lse for _, lse in pieces], 1)), whole)


def test_recall_is_the_dense_softmax_mass_of_what_is_listed():
    q, k, v = case()
    options = {"scale": 0.3, "q_start": 30, "kv_len": 100}
    (_, dense), (_, sparse) = (
        blocked.attn_prefill(q, k, v, **options),
        blocked.attn_prefill(q, k, v, lists(), **options),
    )
    scores = torch.einsum("thd,nhd->htn", q, k.repeat_interleave(2, 1)) * 0.3
    weights = torch.softmax(scores.masked_fill(~torch.ones(70, 100, dtype=torch.bool).tril(30), -torch.inf), -1)
    tiles = lists().mask(7).repeat_interleave(32, 1).repeat_interleave(16, 2)[:, :70, :100]
    recall = (sparse - dense).exp()
    assert (recall - (weights * tiles).sum(-1)).abs().max() < 1e-5
    assert recall.min() == 0 and recall.max() <= 1 + 1e-6


def test_rows_of_which_the_list_leaves_only_a_tile_after_them_see_nothing():
    index = BlockIndex(*(torch.tensor(x, dtype=torch.int32) for x in ([0, 1], [1], [0])), *BLOCK, heads=1)
    wanted = both(*case(32, 32, 1, 1), index, kv_len=32)
    assert wanted[1][0, :16].isinf().all() and wanted[1][0, 16:].isfinite().all()
    assert not wanted[0][:16].any()


def test_a_large_score_does_not_overflow():
    q, k, v = case()
    both(q * 1e3, k, v, lists(), q_start=30, kv_len=100, error=1e-3)


def test_the_public_function_writes_where_it_is_told():
    q, k, v = case()
    wanted = truth(q, k, v, lists(), scale=0.3, q_start=30, kv_len=100)
    wide = torch.zeros(70, 6, 32)
    output, lse = attn_prefill(q, k, v, lists(), scale=0.3, q_start=30, out=wide[:, 1:5])
    close((output, lse), wanted)
    assert torch.equal(wide[:, 1:5], output) and not wide[:, 0].any() and not wide[:, 5].any()
    out = torch.zeros(70, 6, 32)
    triton.attn_prefill(q, k, v, lists(), scale=0.3, q_start=30, kv_len=100, out=out[:, 1:5])
    close((out[:, 1:5], lse), wanted)
    assert not out[:, 0].any() and not out[:, 5].any()
    assert attn_prefill(q, k, v, scale=0.3, q_start=30, return_lse=False)[1] is None


def changed(**fields):
    return lambda: dataclasses.replace(
        lists(), **{name: change(getattr(lists(), name)) for name, change in fields.items()}
    )


def at(place, value):
    def change(tensor):
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    return change


WRONG = {
    "do not fit together": lambda q, k, v: ((q[..., :16], k, v), {}),
    "can't share": lambda q, k, v: ((q[:, :3], k, v), {}),
    "heads of 96 numbers": lambda q, k, v: (case(dim=96), {}),
    "one type of": lambda q, k, v: ((q, k.half(), v.half()), {}),
    "float64": lambda q, k, v: ((q.double(), k.double(), v.double()), {}),
    "several devices": lambda q, k, v: ((q, k.to("meta"), v), {}),
    "k has strides": lambda q, k, v: ((q, k.transpose(0, 2).contiguous().transpose(0, 2), v), {}),
    "70 queries over 101 keys": lambda q, k, v: ((q, k, v), {"kv_len": 101}),
    "0 queries over": lambda q, k, v: ((q[:0], k, v), {}),
    "queries 31 to 100": lambda q, k, v: ((q, k, v), {"q_start": 31}),
    "queries -1 to": lambda q, k, v: ((q, k, v), {"q_start": -1}),
    "a window of 0": lambda q, k, v: ((q, k, v), {"window": 0}),
    "window is torch.int64": lambda q, k, v: ((q, k, v), {"window": torch.ones(4, dtype=torch.int64)}),
    "window holds 0": lambda q, k, v: ((q, k, v), {"window": torch.zeros(4, dtype=torch.int32)}),
    "for 4 heads": lambda q, k, v: ((q, k, v), {"window": torch.ones(3, dtype=torch.int32)}),
    "-1 sinks": lambda q, k, v: ((q, k, v), {"sink": -1}),
    "out is torch.float16": lambda q, k, v: ((q, k, v), {"out": q.half()}),
    "block_table holds 9": lambda q, k, v: ((q, *paged(k, v)[:2]), {"block_table": at(3, 9)(paged(k, v)[2])}),
    "block_table is torch.int64": lambda q, k, v: ((q, *paged(k, v)[:2]), {"block_table": paged(k, v)[2].long()}),
    "is of one sequence": lambda q, k, v: ((q, *paged(k, v)[:2]), {"block_table": paged(k, v)[2][None]}),
}  # fmt: skip

WRONG_INDEX = {
    "block_m is 24": changed(block_m=lambda _: 24),
    "lists of 3 heads": changed(heads=lambda _: 3),
    "are not of 4 heads": changed(block_m=lambda _: 64),
    "indices is torch.int64": changed(indices=lambda ids: ids.long()),
    "rows do not run": changed(indptr=at(3, 0)),
    "fewer ids than n_full": changed(n_full=at(2, 99)),
    "names tile 7": changed(indices=at(-1, 7)),
    "names tile -1": changed(indices=at(0, -1)),
    "names a tile twice": changed(indices=lambda ids: torch.zeros_like(ids)),
    "full, which some query": changed(n_full=lambda _: (lists().indptr[1:] - lists().indptr[:-1]).int()),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    inputs, options = WRONG[said](*case())
    with pytest.raises(KernelError, match=said):
        attn_prefill(*inputs, scale=0.3, **{"q_start": 30, **options})


@pytest.mark.parametrize("said", WRONG_INDEX)
def test_wrong_lists_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        attn_prefill(*case(), WRONG_INDEX[said](), scale=0.3, q_start=30)


def test_tiles_larger_than_a_page_and_memory_that_tma_cannot_read_are_refused():
    q, k, v = case()
    wide = dataclasses.replace(lists(), block_n=32)
    k_pages, v_pages, table = paged(k, v)
    with pytest.raises(KernelError, match="within pages of 16"):
        attn_prefill(q, k_pages, v_pages, wide, scale=0.3, q_start=30, kv_len=100, block_table=table)
    checks.aligned("attn_prefill", q=q)
    with pytest.raises(KernelError, match="steps of 16"):
        checks.aligned("attn_prefill", q=torch.zeros(4, 3, 33)[..., :32])


def build(block, dim, page, causal, listed):
    names = ("indptr", "indices", "n_full", "windows", "order", "table")
    box = f"tensordesc<bf16[1,1,{block[1]},{dim}]>"
    signature = {"q": f"tensordesc<bf16[1,{block[0]},{dim}]>", "k": box, "v": box, **dict.fromkeys(names, "*i32")}
    numbers = ("queries", "kv_len", "q_start", "sink", "blocks", "stride_out", "stride_out_head")
    signature |= {"out": "*bf16", "lse": "*fp32", "scale": "fp32", **dict.fromkeys(numbers, "i32")}
    constants = {"HEADS": 32, "GROUP": 4, "SHARED": 1, "DIM": dim, "BLOCK_M": block[0], "BLOCK_N": block[1]}
    constants |= {"PAGE": page, "CAUSAL": causal, "LISTED": listed, "UPCAST": False}
    module = "turnout.kernels.attn_prefill.triton"
    return Build(module, "_prefill", signature, constants, triton.config(*block, dim))


def test_it_compiles_for_sm_90_with_tma_and_wgmma_and_without_spills():
    builds = [build(triton.tiles(dim), dim, 0, True, False) for dim in (128, 256)]
    builds += [build(block, 128, 0, True, True) for block in ((128, 64), (128, 128), (64, 64), (64, 128))]
    builds += [build((64, 64), 64, 64, True, True), build((128, 64), 128, 64, False, False)]
    for wanted, built in zip(builds, compiled(builds), strict=True):
        assert built.fits, (wanted.constants, built)
        assert built.tma and built.matrix == ["wgmma"]
        if wanted.constants["BLOCK_M"] == 64 and wanted.constants["BLOCK_N"] < 128:
            assert built.shared <= 113 * 1024, "two programs are to share a multiprocessor"

"""Attention along vertical and slash lines equals the mask written out, and the index holds what it is to hold."""

from __future__ import annotations

import dataclasses

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_prefill import naive as dense  # noqa: E402
from turnout.kernels.vs_prefill import blocked, naive, triton  # noqa: E402
from turnout.kernels.vs_prefill.api import vs_prefill  # noqa: E402
from turnout.kernels.vs_prefill.index import chosen_lines, lines_for, tiles_of, vs_index  # noqa: E402
from turnout.kernels.vs_probe.api import vs_probe  # noqa: E402

SLASHES = [[0, 1, 2, 40], [0, 33]]
COLUMNS = [[0, 1, 50, 99], [5, 64]]


def case(queries=70, keys=100, heads=2, kv_heads=1, dim=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = (queries, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


def index(slashes=SLASHES, columns=COLUMNS, reach=100, block_m=32, block_n=16):
    return vs_index(slashes, columns, reach=reach, block_m=block_m, block_n=block_n)


def both(q, k, v, lines, error=1e-5, **options):
    wanted = naive.vs_prefill(q.double(), k.double(), v.double(), lines, scale=0.3, **options)
    close(blocked.vs_prefill(q, k, v, lines, scale=0.3, **options), wanted, error)
    close(triton.vs_prefill(q, k, v, lines, scale=0.3, **options), wanted, error)
    return wanted


lines_of_four = st.lists(st.lists(st.integers(0, 99), max_size=6, unique=True), min_size=4, max_size=4)


@settings(max_examples=8, deadline=None)
@given(
    queries=st.sampled_from([1, 33, 64]),
    past=st.sampled_from([0, 1, 36]),
    slashes=lines_of_four,
    columns=lines_of_four,
    blocks=st.sampled_from([(32, 16), (16, 16), (16, 32)]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_the_written_mask(queries, past, slashes, columns, blocks, seed):
    inputs = case(queries, queries + past + 2, heads=4, kv_heads=2, seed=seed)
    both(*inputs, index(slashes, columns, 102, *blocks), q_start=past, kv_len=queries + past)


@given(offsets=st.sets(st.integers(0, 200), max_size=12), blocks=st.sampled_from([(32, 16), (16, 32), (16, 16)]))
def test_tiles_cover_every_offset_of_every_query_once(offsets, blocks):
    block_m, block_n = blocks
    tiles = tiles_of(sorted(offsets, reverse=True), block_m, block_n)
    covered = [key for tile in tiles for key in range(-tile, -tile + block_n)]
    assert len(covered) == len(set(covered))
    assert {row - offset for row in range(block_m) for offset in offsets} <= set(covered)
    assert len(tiles) <= len(offsets) * (-(-block_m // block_n) + 1)


@pytest.mark.parametrize(("slashes", "columns"), [(range(96), []), ([], range(96))])
def test_all_slashes_or_all_columns_are_dense_attention(slashes, columns):
    q, k, v = case(96, 96)
    lines = index([list(slashes)] * 2, [list(columns)] * 2, 96)
    wanted = dense.attn_prefill(q.double(), k.double(), v.double(), scale=0.3, kv_len=96)
    close(both(q, k, v, lines, kv_len=96), wanted, 1e-12)


def test_the_same_index_serves_every_chunk():
    q, k, v = case(96, 96)
    whole = both(q, k, v, index(), kv_len=96)
    pieces = [
        vs_prefill(q[at : at + 32], k[: at + 32], v[: at + 32], index(), scale=0.3, q_start=at) for at in (0, 32, 64)
    ]
    close((torch.cat([o for o, _ in pieces]), torch.cat([lse for _, lse in pieces], 1)), whole)


def test_a_query_without_lines_sees_nothing():
    _, lse = both(*case(40, 40), index([[], [39]], [[], [20]]), kv_len=40)
    assert lse[0].isinf().all() and lse[1, :8].isinf().all() and lse[1, 20:].isfinite().all()


def test_half_precision():
    q, k, v = (tensor.half() for tensor in case(100))
    both(q, k, v, index(), kv_len=100, error=2e-3)


def planted():
    """Queries that look at two keys and 33 tokens back."""
    q, k, v = case(256, 256, heads=1, dim=64)
    k = torch.nn.functional.normalize(k, dim=-1)
    q[:, 0] = 80 * k[7, 0] + 80 * k[120, 0] + 78 * k[:, 0].roll(33, 0)
    return q, k, v


def test_planted_lines_are_found_and_hold_nearly_all_mass():
    q, k, v = planted()
    sums = vs_probe(q[-64:], torch.arange(192, 256, dtype=torch.int32), k, scale=1.0)
    slashes, columns = chosen_lines(*sums, n_vert=6, n_slash=6, sinks=4, newest=4)
    assert {7, 120} <= set(columns[0]) and 33 in slashes[0] and {0, 1, 2, 3} <= set(slashes[0]) & set(columns[0])
    lines = vs_index(slashes, columns, reach=256)
    (_, sparse), (_, full) = (
        vs_prefill(q, k, v, lines, scale=1.0),
        dense.attn_prefill(q, k, v, scale=1.0, kv_len=256),
    )
    assert (sparse - full).exp()[0, 64:].min() > 0.999


def test_lines_of_each_chunk_keep_what_it_looks_at():
    """They differ from those of the whole prompt, which no chunk but the last could know; what counts is kept."""
    q, k, v = planted()
    _, full = dense.attn_prefill(q, k, v, scale=1.0, kv_len=256)
    found = []
    for end in (64, 128, 192, 256):
        probes = torch.arange(end - 32, end, dtype=torch.int32)
        sums = vs_probe(q[end - 32 : end], probes, k[:end], scale=1.0)
        slashes, columns = chosen_lines(*sums, n_vert=6, n_slash=6, sinks=4, newest=4)
        found.append((set(columns[0]), set(slashes[0])))
        lines = vs_index(slashes, columns, reach=end)
        _, sparse = vs_prefill(q[end - 64 : end], k[:end], v[:end], lines, scale=1.0, q_start=end - 64)
        assert (sparse - full[:, end - 64 : end]).exp()[0, 40:].min() > 0.999
    assert 120 not in found[0][0] and all({7, 120} <= columns for columns, _ in found[1:])
    assert all(33 in slashes for _, slashes in found)


def test_lines_of_each_head_by_their_own_number():
    sums = torch.arange(12.0).view(2, 6)
    slashes, columns = chosen_lines(sums, sums, n_vert=[1, 3], n_slash=2, sinks=0, newest=1)
    assert [sorted(own) for own in slashes] == [[0, 5], [0, 5]]
    assert [sorted(own) for own in columns] == [[5], [3, 4, 5]]


def test_lines_that_hold_a_share_are_the_fewest():
    sums = torch.tensor([[1.0, 5, 0, 4, 0], [0, 1, 1, 2, 16], [0] * 5])
    assert lines_for(sums, 0.85, forced=0, most=5) == [2, 2, 0]
    assert lines_for(sums, 0.85, forced=2, most=5) == [3, 3, 2], "the first two hold 6 and 1 already"
    assert lines_for(sums, 1.0, forced=1, most=3) == [3, 3, 1], "the second head would need five"
    for shape, share, forced in (((5,), 0.5, 0), ((2, 5), 0.0, 0), ((2, 5), 0.5, -1)):
        with pytest.raises(KernelError, match="can't be"):
            lines_for(torch.zeros(shape), share, forced=forced, most=5)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.05, 1.0), forced=st.integers(0, 4), levels=st.sampled_from([2, 1000]), seed=st.integers(0, 99))
def test_lines_by_share_hold_it_and_one_fewer_does_not(share, forced, levels, seed):
    sums = torch.randint(levels, (3, 30), generator=torch.Generator().manual_seed(seed)).double()
    counts = lines_for(sums, share, forced=forced, most=30)
    _, columns = chosen_lines(sums, sums, n_vert=counts, n_slash=counts, sinks=forced, newest=forced)
    for own, mass in zip(columns, sums, strict=True):
        kept = [mass[line] for line in own]
        assert sum(kept) >= share * mass.sum() - 1e-9
        assert len(own) == forced or sum(kept) - min(kept[forced:]) < share * mass.sum()


def test_out_is_written_where_it_is_told():
    q, k, v = case(100)
    wide = torch.zeros(100, 4, 32)
    triton.vs_prefill(q, k, v, index(), scale=0.3, kv_len=100, out=wide[:, 1:3])
    output, _ = vs_prefill(q, k, v, index(), scale=0.3, out=torch.zeros_like(q))
    assert (wide[:, 1:3] - output).abs().max() < 1e-5 and not wide[:, 0].any() and not wide[:, 3].any()


def changed(**fields):
    return lambda: dataclasses.replace(
        index(), **{name: change(getattr(index(), name)) for name, change in fields.items()}
    )


WRONG = {
    "do not fit together": lambda q, k, v: ((q[..., :16], k, v, index()), {}),
    "can't share": lambda q, k, v: ((q, k.repeat(1, 3, 1), v.repeat(1, 3, 1), index()), {}),
    "heads of 24 numbers": lambda q, k, v: ((*case(dim=24), index()), {}),
    "one type of": lambda q, k, v: ((q, k.half(), v.half(), index()), {}),
    "several devices": lambda q, k, v: ((q, k.to("meta"), v, index()), {}),
    "v has strides": lambda q, k, v: ((q, k, v.transpose(0, 2).contiguous().transpose(0, 2), index()), {}),
    "over 101 keys": lambda q, k, v: ((q, k, v, index()), {"kv_len": 101}),
    "queries 31 to 100": lambda q, k, v: ((q, k, v, index()), {"q_start": 31}),
    "out is": lambda q, k, v: ((q, k, v, index()), {"out": q.half()}),
    "reaches over 99 keys": lambda q, k, v: ((q, k, v, index(columns=[[0], [5]], reach=99)), {}),
    "rel .* is not of 2 heads": lambda q, k, v: ((q, k, v, index(SLASHES[:1], COLUMNS[:1])), {}),
    "cols is torch.int64": lambda q, k, v: ((q, k, v, changed(cols=lambda t: t.long())()), {}),
    "cov is torch.int32": lambda q, k, v: ((q, k, v, changed(cov=lambda t: t.int())()), {}),
    "n_rel holds 101": lambda q, k, v: ((q, k, v, changed(n_rel=lambda t: t * 0 + 101)()), {}),
    "n_cols holds -1": lambda q, k, v: ((q, k, v, changed(n_cols=lambda t: t * 0 - 1)()), {}),
    "cols holds 1099": lambda q, k, v: ((q, k, v, changed(cols=lambda t: t + 1000)()), {}),
    "rel holds -": lambda q, k, v: ((q, k, v, changed(rel=lambda t: t - 90)()), {}),
    "tiles overlap": lambda q, k, v: ((q, k, v, changed(rel=lambda t: t.flip(1))()), {}),
    "do not ascend": lambda q, k, v: ((q, k, v, changed(cols=lambda t: t * 0)()), {}),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    inputs, options = WRONG[said](*case())
    with pytest.raises(KernelError, match=said):
        vs_prefill(*inputs, scale=0.3, **{"q_start": 30, **options})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: index([[0]], COLUMNS), "1 heads"),
        (lambda: index([[100], []]), "slash at 100"),
        (lambda: index(SLASHES, [[], [-1]]), "column at -1"),
        (lambda: index(block_m=48), "blocks of 48"),
        (lambda: chosen_lines(torch.zeros(2, 5), torch.zeros(2, 4), n_vert=1, n_slash=1), "differ"),
        (lambda: chosen_lines(torch.zeros(2, 5), torch.zeros(2, 5), n_vert=[1], n_slash=1), "can't be"),
    ],
)
def test_lines_that_cannot_be_are_refused(make, said):
    with pytest.raises(KernelError, match=said):
        make()


def build(block_m, block_n, dim):
    box = f"tensordesc<bf16[1,{block_n},{dim}]>"
    signature = {
        "q": f"tensordesc<bf16[1,{block_m},{dim}]>",
        **dict.fromkeys(("k", "v", "k_columns", "v_columns"), box),
    }
    numbers = (
        "queries",
        "kv_len",
        "q_start",
        "blocks",
        "most_rel",
        "most_cols",
        "reach",
        "stride_out",
        "stride_out_head",
    )
    signature |= dict.fromkeys(("rel", "cols", "bounds"), "*i32") | dict.fromkeys(numbers, "i32")
    signature |= {"cov": "*i8", "out": "*bf16", "lse": "*fp32", "scale": "fp32"}
    constants = {"HEADS": 32, "GROUP": 4, "DIM": dim, "BLOCK_M": block_m, "BLOCK_N": block_n, "UPCAST": False}
    return Build("turnout.kernels.vs_prefill.triton", "_lines", signature, constants, triton.config(block_m, dim))


def test_it_compiles_for_sm_90_with_tma_and_wgmma_and_without_spills():
    builds = [build(64, 64, 128), build(128, 64, 128), build(64, 64, 64)]
    for wanted, built in zip(builds, compiled(builds), strict=True):
        assert built.fits, (wanted.constants, built)
        assert built.tma and built.matrix == ["wgmma"]

"""Selecting tiles: the fast paths equal the literal rules, and the rules hold what they promise."""

from __future__ import annotations

import itertools

import pytest
from support.kernels import Build, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_prefill.api import attn_prefill  # noqa: E402
from turnout.kernels.block_scores.api import block_reduce, block_scores  # noqa: E402
from turnout.kernels.select_blocks import blocked, naive, triton  # noqa: E402
from turnout.kernels.select_blocks.api import select_blocks  # noqa: E402
from turnout.kernels.select_blocks.rules import Grid, Rule  # noqa: E402
from turnout.kernels.shared.index import check_values, from_mask  # noqa: E402

SIZES = {"block_m": 32, "block_n": 16}


def scores(heads=2, queries=150, keys=150, kind="spread", seed=0):
    """Of every tile, also those after the queries."""
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(heads, -(-queries // 32), -(-keys // 16), generator=random)
    if kind == "ties":
        return (found * 3).floor()
    if kind == "nothing":
        return torch.where(found < 0.5, -torch.inf, 0.0)
    return torch.exp2(found * 30 - 30)


def equal(one, other):
    for name in ("indptr", "indices", "n_full"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@settings(max_examples=10, deadline=None)
@given(
    queries=st.sampled_from([1, 64, 150]),
    past=st.sampled_from([0, 16, 50]),
    rule=st.sampled_from([("mass", 0.0), ("mass", 0.5), ("mass", 0.9), ("mass", 1.0), ("top", 3), ("threshold", 0.01)]),
    forced=st.sampled_from([(0, 0, 0), (1, 1, 0), (2, 3, 4)]),
    kind=st.sampled_from(["spread", "ties", "nothing"]),
    causal=st.booleans(),
    histogram=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_the_literal_rules(queries, past, rule, forced, kind, causal, histogram, seed):
    keys = queries + past
    found = scores(2, queries, keys, kind, seed)
    made = Rule(rule[0], (rule[1],), *forced, histogram)
    grid = Grid(32, 16, queries, past, keys, causal)
    wanted = naive.select_blocks(found, made, grid)
    equal(blocked.select_blocks(found, made, grid), wanted)
    equal(triton.select_blocks(found, made, grid), wanted)
    if len(wanted.indices):
        check_values("test", wanted, queries=queries, q_start=past, kv_len=keys, causal=causal, window=False)


def chosen(found, rule, **options):
    index = select_blocks(found, rule, **{**SIZES, "queries": 150, "force_sink": 0, "force_diag": 0, **options})
    return index.mask(found.shape[2])


def seen(found):
    every = torch.ones_like(found, dtype=torch.bool)
    return from_mask(every, 32, 16, queries=150, kv_len=150).mask(found.shape[2])


@pytest.mark.parametrize("histogram", [False, True])
def test_mass_is_covered_by_no_more_than_needed_and_grows_with_tau(histogram):
    found = scores()
    real = torch.where(seen(found), found, 0)
    before = torch.zeros_like(real, dtype=torch.bool)
    for tau in (0.1, 0.5, 0.9, 0.99, 1.0):
        taken = chosen(found, "mass", tau=tau, histogram=histogram)
        assert ((real * taken).sum(-1) >= tau * real.sum(-1) * (1 - 1e-6)).all()
        assert (before & ~taken).sum() == 0
        before = taken
        exact = chosen(found, "mass", tau=tau, histogram=False)
        assert (exact & ~taken).sum() == 0
        if not histogram and tau < 1:
            least = real.masked_fill(~taken, torch.inf).amin(-1)
            assert ((real * taken).sum(-1) - least < tau * real.sum(-1) * (1 + 1e-6)).all()
        if histogram and tau < 1:
            least, wide = (real.masked_fill(~mask, torch.inf).amin(-1) for mask in (exact, taken))
            assert (wide > least / 2**0.51).all(), "a bin spans half a power of two"
    assert torch.equal(before, seen(found))


def test_top_grows_with_k():
    found = scores()
    taken = [chosen(found, "top", k=k) for k in range(4)]
    assert [int(mask.sum(-1).max()) for mask in taken] == [0, 1, 2, 3]
    assert all((few & ~more).sum() == 0 for few, more in itertools.pairwise(taken))


def test_forced_tiles_are_there_once_and_the_own_ones_reach_every_query():
    found = torch.zeros(1, 5, 10)
    index = select_blocks(found, "top", k=0, queries=150, force_sink=1, force_diag=2, **SIZES)
    rows = [index.indices[index.indptr[row] : index.indptr[row + 1]].tolist() for row in range(5)]
    assert rows == [[0, 1], [0, 1, 2, 3], [0, 3, 4, 5], [0, 5, 6, 7], [0, 7, 8, 9]]


def test_heads_are_chosen_apart_and_groups_by_their_mean_or_maximum():
    found = scores(4)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(chosen(found[order], "mass", tau=0.5), chosen(found, "mass", tau=0.5)[order])
    paired = found.view(2, 2, *found.shape[1:])
    for pool, one in (("mean", paired.mean(1)), ("max", paired.amax(1))):
        grouped = chosen(found, "mass", tau=0.5, share="group", kv_heads=2, pool=pool)
        assert torch.equal(grouped, chosen(one, "mass", tau=0.5))
    assert len(chosen(found, "mass", tau=0.5, share="layer")) == 1


def test_a_value_for_each_head():
    found = scores()
    mixed = chosen(found, "mass", tau=[0.2, 0.9])
    assert torch.equal(mixed[0], chosen(found, "mass", tau=0.2)[0])
    assert torch.equal(mixed[1], chosen(found, "mass", tau=0.9)[1])


def test_long_rows():
    found = torch.rand(1, 1, 300)
    grid, rule = Grid(16, 16, 10, 4790, 4800, True), Rule("mass", (0.5,), 1, 1, 0, True)
    equal(triton.select_blocks(found, rule, grid), naive.select_blocks(found, rule, grid))


def test_estimate_selection_and_attention_together_keep_what_was_planted():
    """XAttention: few tiles hold nearly all of the dense softmax mass, and all tiles are dense attention."""
    q, k, v = (torch.randn(256, heads, 64, generator=torch.Generator().manual_seed(1)) * 0.1 for heads in (2, 1, 1))
    q[:, :, 0] = k[40:48, :, 0] = 14
    masses = block_reduce(block_scores(q, k, scale=0.125, stride=8, block=32), 4)
    dense, dense_lse = attn_prefill(q, k, v, scale=0.125)
    for share in ("head", "group"):
        options = {"block_m": 32, "block_n": 32, "queries": 256, "share": share, "kv_heads": 1}
        index = select_blocks(masses, "mass", tau=0.9, **options)
        _, lse = attn_prefill(q, k, v, index, scale=0.125)
        assert (lse - dense_lse).exp().min() > 0.99
        assert len(index.indices) <= 0.6 * 36 * index.heads
        output, lse = attn_prefill(q, k, v, select_blocks(masses, "mass", tau=1.0, **options), scale=0.125)
        assert (output - dense).abs().max() < 1e-6 and (lse - dense_lse).abs().max() < 1e-5


WRONG = {
    "'best' is no rule": {"rule": "best"},
    "needs its own value": {"k": 3},
    "2.0 can't be": {"tau": 2.0},
    "nan can't be": {"tau": float("nan")},
    "1.5 can't be": {"rule": "top", "tau": None, "k": [1.5]},
    "3 values": {"tau": [0.1, 0.2, 0.3]},
    "can't share": {"share": "group", "kv_heads": 3},
    "is no scope": {"share": "all"},
    "is no way to pool": {"pool": "min"},
    "block_m is 24": {"block_m": 24},
    "0 queries": {"queries": 0},
    "not all among 100 keys": {"kv_len": 100},
    "5 query blocks, 11 tiles": {"kv_len": 170},
    "-1 sinks": {"force_sink": -1},
    "float64": {"scores": scores().double()},
    "no numbers": {"scores": scores() * torch.nan},
    "without bound": {"scores": scores() / 0},
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused(said):
    options = {"scores": scores(), "rule": "mass", "tau": 0.5, "queries": 150, **SIZES, **WRONG[said]}
    with pytest.raises(KernelError, match=said):
        select_blocks(options.pop("scores"), options.pop("rule"), **options)


def test_it_compiles_for_sm_90_without_spills():
    module = "turnout.kernels.select_blocks.triton"
    mass = {"scores": "*fp32", "values": "*fp32", "chosen": "*i8", "blocks": "i32", "tiles": "i32"}
    write = {"chosen": "*i8", "indptr": "*i64", "indices": "*i32", "tiles": "i32"}
    constants = {"BINS": 64, "PER_OCTAVE": 2, "CHUNK": triton.CHUNK}
    builds = [
        Build(module, "_mass", mass, constants, triton.config()),
        Build(module, "_write", write, {"CHUNK": triton.CHUNK}, triton.config()),
    ]
    assert all(built.fits for built in compiled(builds))

"""Keys moved to other positions are those of the other positions."""

from __future__ import annotations

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.rerotate import blocked, naive, triton  # noqa: E402
from turnout.kernels.rerotate.api import rerotate  # noqa: E402


def case(tokens=20, heads=2, dim=32, pairs=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    delta = torch.randint(-1000, 1_000_000, (tokens,), generator=random).int()
    return torch.randn(tokens, heads, dim, generator=random), delta, frequencies(pairs)


def frequencies(pairs):
    return 10000.0 ** -(torch.arange(pairs) / pairs)


@settings(max_examples=10, deadline=None)
@given(
    tokens=st.sampled_from([1, 16, 20]),
    sizes=st.sampled_from([(32, 16), (32, 6), (24, 12), (16, 8)]),
    layout=st.sampled_from(["half", "interleaved"]),
    one=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_plain_torch(tokens, sizes, layout, one, seed):
    k, delta, inv_freq = case(tokens, 2, *sizes, seed=seed)
    moved = int(delta[0]) if one else delta
    wanted = naive.rerotate(k.double(), moved, inv_freq, layout)
    close([blocked.rerotate(k, moved, inv_freq, layout)], [wanted])
    close([triton.rerotate(k, moved, inv_freq, layout)], [wanted])


def rotated(k, positions, inv_freq):
    """As Llama rotates: halves of a head."""
    angles = torch.cat([positions[:, None] * inv_freq] * 2, -1)[:, None]
    a, b = k.chunk(2, -1)
    return k * angles.cos() + torch.cat([-b, a], -1) * angles.sin()


def test_moved_keys_are_those_of_the_other_positions():
    k, _, inv_freq = case()
    start, delta = torch.arange(20), torch.arange(20, dtype=torch.int32) * 7
    moved = rerotate(rotated(k, start, inv_freq), delta, inv_freq)
    close([moved], [rotated(k.double(), start + delta, inv_freq.double())], 1e-5)


def test_moving_back_and_forth_changes_nothing_and_scores_depend_on_distance_alone():
    k, delta, inv_freq = case()
    close([rerotate(rerotate(k, delta, inv_freq), -delta, inv_freq)], [k.double()])
    q, key = rotated(k, torch.arange(20), inv_freq), rotated(k.flip(0), torch.arange(20), inv_freq)
    both = [rerotate(tensor, 123, inv_freq) for tensor in (q, key)]
    close([torch.einsum("thd,nhd->htn", *both)], [torch.einsum("thd,nhd->htn", q, key).double()], 1e-5)


def test_what_does_not_turn_stays_and_half_precision_rounds_once():
    k, delta, inv_freq = case(pairs=6)
    wide = torch.randn(20, 5, 32).half()
    wide[:, 1:3] = k
    view = wide[:, 1:3]
    for layout in ("half", "interleaved"):
        found = triton.rerotate(view, delta, inv_freq, layout)
        assert torch.equal(found[..., 12:], view[..., 12:])
        close([found], [naive.rerotate(view.double(), delta, inv_freq, layout)], 5e-4)
        assert torch.equal(found, rerotate(view, delta, inv_freq, layout))


WRONG = {
    "is not .tokens, heads, dim": lambda k, d, f: (k[0], d, f),
    "even dim": lambda k, d, f: (k[..., :31], d, f),
    "1 to 16 pairs": lambda k, d, f: (k, d, frequencies(17)),
    "no layout": lambda k, d, f: (k, d, f, "pairs"),
    "float64": lambda k, d, f: (k.double(), d, f),
    "inv_freq is torch.float16": lambda k, d, f: (k, d, f.half()),
    "delta is torch.int64": lambda k, d, f: (k, d.long(), f),
    "is not of 20 tokens": lambda k, d, f: (k, d[:3], f),
    "several devices": lambda k, d, f: (k, d.to("meta"), f),
    "k has strides": lambda k, d, f: (k.transpose(0, 2).contiguous().transpose(0, 2), d, f),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        rerotate(*WRONG[said](*case()))


def test_it_compiles_for_sm_90_without_spills():
    signature = {"k": "*bf16", "cos": "*fp32", "sin": "*fp32", "result": "*bf16", "tokens": "i32"}
    signature |= dict.fromkeys(("stride_k", "stride_k_head", "stride_table"), "i32")
    builds = [
        Build("turnout.kernels.rerotate.triton", "_turn", signature,
              {"HALF": half, "PAIRS": 64, "DIM": 128, "TOKENS": triton.TOKENS, "TOGETHER": together}, triton.config())
        for half, together in ((64, False), (32, True))
    ]  # fmt: skip
    assert all(built.fits for built in compiled(builds))

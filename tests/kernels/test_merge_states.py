"""Merging attention over disjoint keys equals one softmax over all of them."""

from __future__ import annotations

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.merge_states import naive, triton  # noqa: E402
from turnout.kernels.merge_states.api import merge_states  # noqa: E402


def case(states=3, tokens=4, heads=2, dim=32, empty=0.3, seed=0):
    """States of which some saw nothing: those hold 0 and -inf."""
    random = torch.Generator().manual_seed(seed)
    outputs = torch.randn(states, tokens, heads, dim, generator=random)
    lse = torch.randn(states, tokens, heads, generator=random) * 20
    nothing = torch.rand(lse.shape, generator=random) < empty
    return outputs.masked_fill(nothing[..., None], 0), lse.masked_fill(nothing, -torch.inf)


@settings(max_examples=15, deadline=None)
@given(
    states=st.integers(1, 5),
    tokens=st.integers(1, 3),
    empty=st.sampled_from([0.0, 0.5, 1.0]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_kernel_equals_plain_torch(states, tokens, empty, weighted, seed):
    outputs, lse = case(states, tokens, empty=empty, seed=seed)
    weights = [0.5 + index for index in range(states)] if weighted else None
    wanted = naive.merge_states(outputs.double(), lse.double(), weights)
    close(triton.merge_states(outputs, lse, weights), wanted)
    close(merge_states(outputs, lse, weights), wanted)


def test_a_partition_of_the_keys_merges_to_one_softmax():
    scores, values = torch.randn(30, dtype=torch.float64) * 5, torch.randn(30, 8, dtype=torch.float64)
    parts = [slice(0, 7), slice(7, 8), slice(8, 30)]
    outputs = torch.stack([torch.softmax(scores[part], 0) @ values[part] for part in parts])[:, None, None]
    lse = torch.stack([torch.logsumexp(scores[part], 0) for part in parts])[:, None, None]
    whole = (torch.softmax(scores, 0) @ values)[None, None], torch.logsumexp(scores, 0)[None, None]
    close(naive.merge_states(outputs, lse), whole, 1e-12)
    # The same sums in base 2 give other shares: the two must not be mixed.
    mixed, _ = naive.merge_states(outputs, lse / torch.log(torch.tensor(2.0)))
    assert (mixed - whole[0]).norm() > 1e-3 * whole[0].norm()


def test_order_and_grouping_do_not_matter_and_nothing_adds_nothing():
    outputs, lse = case(4, seed=3)
    whole = naive.merge_states(outputs.double(), lse.double())
    order = torch.tensor([2, 0, 3, 1])
    close(triton.merge_states(outputs[order], lse[order]), whole)
    halves = [triton.merge_states(outputs[half], lse[half]) for half in (slice(0, 2), slice(2, 4))]
    close(triton.merge_states(*map(torch.stack, zip(*halves, strict=True))), whole)
    nothing = torch.zeros_like(outputs[:1]), torch.full_like(lse[:1], -torch.inf)
    close(triton.merge_states(torch.cat([outputs, nothing[0]]), torch.cat([lse, nothing[1]])), whole)


def test_views_of_something_larger():
    outputs, lse = case(2, 3, heads=4)
    seen = triton.merge_states(outputs[:, :, 1:3], lse.transpose(1, 2).contiguous().transpose(1, 2)[:, :, 1:3])
    close(seen, naive.merge_states(outputs[:, :, 1:3].double(), lse[:, :, 1:3].double()))


WRONG = {
    "do not fit together": lambda o, s: (o, s[:, :2]),
    "65 states": lambda o, s: (o[:1].expand(65, -1, -1, -1), s[:1].expand(65, -1, -1)),
    "dim is 24": lambda o, s: (o[..., :24], s),
    "float64": lambda o, s: (o.double(), s),
    "lse is torch.float16": lambda o, s: (o, s.half()),
    "last dimension": lambda o, s: (o.transpose(0, 3).contiguous().transpose(0, 3), s),
    "2 weights": lambda o, s: (o, s, [1.0, 2.0]),
    "a weight of 0": lambda o, s: (o, s, [1.0, 0, 1.0]),
    "a weight of nan": lambda o, s: (o, s, [1.0, float("nan"), 1.0]),
    "lse on meta": lambda o, s: (o, s.to("meta")),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        merge_states(*WRONG[said](*case()))


def test_it_compiles_for_sm_90_without_spills():
    signature = dict.fromkeys(("weights", "sums", "lse"), "*fp32") | dict.fromkeys(("outputs", "merged"), "*bf16")
    strides = [f"{kind}stride_{name}" for kind in ("", "lse_") for name in ("state", "token", "head")]
    signature |= {"count": "i32", **dict.fromkeys(strides, "i32")}
    builds = [
        Build("turnout.kernels.merge_states.triton", "_merge", signature,
              {"STATES": states, "DIM": dim, "WEIGHTED": weighted}, triton.config())
        for states, dim, weighted in [(2, 128, True), (16, 64, False), (64, 128, False)]
    ]  # fmt: skip
    assert all(built.fits for built in compiled(builds))

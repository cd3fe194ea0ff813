"""Attention to the first tokens and a window of each head equals the mask written out."""

from __future__ import annotations

import pytest
from support.kernels import close

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.shared.masks import EVERYTHING  # noqa: E402
from turnout.kernels.streaming import naive, triton  # noqa: E402
from turnout.kernels.streaming.api import streaming  # noqa: E402


def case(queries=70, keys=100, heads=4, kv_heads=2, dim=32, seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = (queries, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


def truth(q, k, v, windows, **options):
    wide = torch.tensor([EVERYTHING if window is None else window for window in windows])
    return naive.streaming(q.double(), k.double(), v.double(), wide, **options)


@settings(max_examples=6, deadline=None)
@given(
    queries=st.sampled_from([1, 33, 50]),
    past=st.sampled_from([0, 45]),
    windows=st.lists(st.sampled_from([None, 1, 16, 31, 80]), min_size=4, max_size=4),
    sink=st.sampled_from([0, 4, 16, 60]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_the_written_mask(queries, past, windows, sink, seed):
    inputs = case(queries, queries + past, seed=seed)
    options = {"scale": 0.3, "sink": sink, "q_start": past}
    wanted = truth(*inputs, windows, kv_len=queries + past, **options)
    close(streaming(*inputs, windows, **options), wanted)
    wide = torch.tensor([EVERYTHING if window is None else window for window in windows], dtype=torch.int32)
    close(triton.streaming(*inputs, wide, kv_len=queries + past, block=(32, 16), **options), wanted)


def test_the_first_tokens_count_once_where_the_window_reaches_them():
    q, k, v = case(20, 20)
    found, lse = streaming(q, torch.zeros_like(k), v, [8] * 4, scale=0.3, sink=6)
    seen = torch.tensor([min(query + 1, 6) + max(min(query + 1 - 6, 8), 0) for query in range(20)])
    assert (lse.exp() - seen).abs().max() < 1e-4
    assert found.isfinite().all()


def test_heads_that_see_everything_are_dense_beside_heads_that_stream():
    q, k, v = case(40, 40)
    mixed, _ = streaming(q, k, v, [None, None, 8, 8], scale=0.3, sink=4)
    dense, _ = streaming(q, k, v, [None] * 4, scale=0.3)
    narrow, _ = streaming(q, k, v, [8] * 4, scale=0.3, sink=4)
    assert torch.equal(mixed[:, :2], dense[:, :2]) and torch.equal(mixed[:, 2:], narrow[:, 2:])
    assert (mixed - dense).abs().max() > 0.1


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ([0, 4, 4, 4], "each must be 1 or more"),
        ([4, 4, 4], "for 4 heads"),
        (torch.tensor([4, 4, 4, -1], dtype=torch.int32), "window holds -1"),
        (torch.tensor([4, 4, 4, 4]), "window is torch.int64"),
    ],
)
def test_wrong_windows_are_refused_before_anything_runs(windows, said):
    with pytest.raises(KernelError, match=said):
        streaming(*case(), windows, scale=0.3, q_start=30)

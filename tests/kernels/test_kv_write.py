"""Writing into pages: every token is where it belongs, and statistics bound the keys that are there."""

from __future__ import annotations

import pytest
from support.kernels import Build, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.kv_write import blocked, naive, triton  # noqa: E402
from turnout.kernels.kv_write.api import kv_write, page_stats  # noqa: E402


def pool(pages=3, heads=2, page=32, dim=16, dtype=torch.float32):
    """Pages that hold no numbers yet, and their statistics."""
    content = torch.full((pages, 2, heads, page, dim), torch.nan, dtype=dtype)
    return content, torch.zeros(pages, heads, page // 16, 2, dim, dtype=torch.bfloat16)


def tokens(count, heads=2, dim=16, seed=0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, heads, dim, generator=random).to(dtype) for _ in "kv")


def same(one, other):
    return torch.equal(one.nan_to_num(7), other.nan_to_num(7))


@settings(max_examples=8, deadline=None)
@given(
    slots=st.lists(st.integers(-1, 95), min_size=1, max_size=20, unique=True),
    skipped=st.integers(0, 2),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_write_what_plain_torch_writes(slots, skipped, dtype, seed):
    slots = torch.tensor([-1] * skipped + slots)
    k, v = tokens(len(slots), seed=seed, dtype=dtype)
    wanted, found = pool(dtype=dtype), [pool(dtype=dtype), pool(dtype=dtype)]
    for content, _ in (wanted, *found):
        content[:, 0] = torch.randn(content[:, 0].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    naive.kv_write(k, v, wanted[0], slots, wanted[1])
    for path, (pages, stats) in zip((triton, blocked), found, strict=True):
        path.kv_write(k, v, pages, slots, stats)
        assert same(pages, wanted[0]) and same(stats, wanted[1])


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 12)), min_size=1, max_size=6), seed=st.integers(0, 99)
)
def test_statistics_after_writes_and_rollbacks_are_those_of_what_is_there(steps, seed):
    """One sequence over pages 2, 0, 1; each step writes some tokens and drops some."""
    (pages, stats), length = pool(), 0
    table = torch.tensor([2, 0, 1])
    for number, (added, dropped) in enumerate(steps):
        places = torch.arange(length, min(length + added, 96))
        kv_write(*tokens(len(places), seed=seed + number), pages, table[places // 32] * 32 + places % 32, stats)
        length = max(length + len(places) - dropped, 0)
        held = (length - torch.arange(3) * 32).clamp(0, 32)
        page_stats(pages, table, held, stats)
        for at in range(0, length, 16):
            keys = pages[table[at // 32], 0, :, at % 32 : at % 32 + min(16, length - at)]
            least, most = stats[table[at // 32], :, at % 32 // 16].unbind(1)
            assert (least.float() <= keys.amin(1)).all() and (most.float() >= keys.amax(1)).all()
            assert torch.equal(least, naive.rounded(keys.amin(1), up=False, kind=torch.bfloat16))
            assert torch.equal(most, naive.rounded(keys.amax(1), up=True, kind=torch.bfloat16))


def test_dropped_tokens_leave_the_statistics_of_both_paths_when_pages_are_counted_anew():
    k, v = tokens(20)
    results = []
    for path in (triton, blocked):
        pages, stats = pool()
        path.kv_write(k, v, pages, torch.arange(20), stats)
        path.refresh(pages, stats, torch.tensor([15, 17]))
        results.append(stats)
    assert same(*results)
    assert torch.equal(results[0][0, :, 1, 1], naive.rounded(k[16:18].amax(0), up=True, kind=torch.bfloat16))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99))
def test_rounding_outwards_is_by_less_than_a_step(number):
    exact = torch.tensor([number])
    low, high = (naive.rounded(exact, up=up, kind=torch.bfloat16) for up in (False, True))
    assert low.float() <= exact <= high.float()
    assert torch.equal(low, high) or torch.equal(torch.nextafter(low, high), high)


def test_keys_that_are_views_of_something_larger():
    wide, slots = torch.randn(10, 6, 16), torch.arange(10)
    for write in (triton.kv_write, kv_write):
        pages, _ = pool()
        write(wide[:, :2], wide[:, 2:4], pages, slots)
        assert torch.equal(pages[0, 0, :, :10].transpose(0, 1), wide[:, :2])
        assert torch.equal(pages[0, 1, :, :10].transpose(0, 1), wide[:, 2:4])


WRONG = {
    "do not fit together": lambda k, v, p, s, t: (k, v[:3], p, s, t),
    "are not .pages, 2, 2, tokens, 16": lambda k, v, p, s, t: (k, v, p[:, :1], s, t),
    "one type of": lambda k, v, p, s, t: (k, v.half(), p, s, t),
    "slots is torch.int32": lambda k, v, p, s, t: (k, v, p, s.int(), t),
    "several devices": lambda k, v, p, s, t: (k, v, p.to("meta"), s, t),
    "k has strides": lambda k, v, p, s, t: (k.transpose(0, 2).contiguous().transpose(0, 2), v, p, s, t),
    "page is 24": lambda k, v, p, s, t: (k, v, p[:, :, :, :24].contiguous(), s, t),
    "must lie together": lambda k, v, p, s, t: (k, v, p.transpose(2, 3).contiguous().transpose(2, 3), s, t),
    "stats are torch.float32": lambda k, v, p, s, t: (k, v, p, s, t.float()),
    "slots holds 96": lambda k, v, p, s, t: (k, v, p, s + 93, t),
    "slots holds -2": lambda k, v, p, s, t: (k, v, p, s - 2, t),
    "slot 0 is written twice": lambda k, v, p, s, t: (k, v, p, s * 0, t),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_is_written(said):
    (pages, stats), (k, v) = pool(), tokens(4)
    with pytest.raises(KernelError, match=said):
        kv_write(*WRONG[said](k, v, pages, torch.arange(4), stats))
    assert pages.isnan().all() and not stats.any()


@pytest.mark.parametrize(
    ("ids", "counts", "said"),
    [([3], [1], "page_ids holds 3"), ([0], [33], "counts holds 33"), ([0, 1], [1], "do not fit together")],
)
def test_wrong_pages_are_refused(ids, counts, said):
    pages, stats = pool()
    with pytest.raises(KernelError, match=said):
        page_stats(pages, torch.tensor(ids), torch.tensor(counts), stats)


def test_it_compiles_for_sm_90_without_spills():
    module, shape = "turnout.kernels.kv_write.triton", {"PAGE": 64, "DIM": 128}
    strides = ("k", "k_head", "v", "v_head", "page", "kind", "page_head")
    copy = dict.fromkeys(("k", "v", "pages"), "*bf16") | {"slots": "*i64", "capacity": "i32"}
    copy |= {f"stride_{name}": "i32" for name in strides}
    stats = {"pages": "*bf16", "stats": "*bf16", "slots": "*i64", "count": "i32", "capacity": "i32"}
    stats |= {"stride_page": "i32", "stride_page_head": "i32"}
    builds = [
        Build(module, "_copy", copy, shape, triton.config()),
        Build(module, "_stats", stats, shape | {"SUB": 16}, triton.config()),
    ]
    assert all(built.fits for built in compiled(builds))

"""Scores of pages bound the scores of their keys, and the pages with the highest ones are chosen."""

from __future__ import annotations

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.attn_decode.api import attn_decode  # noqa: E402
from turnout.kernels.kv_write.api import kv_write  # noqa: E402
from turnout.kernels.page_scores import blocked, naive, triton  # noqa: E402
from turnout.kernels.page_scores.api import page_scores, select_pages  # noqa: E402

PAGE = 32


def case(lengths=(70, 33), heads=4, kv_heads=2, dim=16, seed=0, spread=1.0):
    """Sequences whose pages are handed out in no order; what is not used is not a number."""
    random = torch.Generator().manual_seed(seed)
    needed = [-(-length // PAGE) for length in lengths]
    count = sum(needed) + 1
    pages = torch.full((count, 2, kv_heads, PAGE, dim), torch.nan)
    stats = torch.full((count, kv_heads, PAGE // 16, 2, dim), torch.nan, dtype=torch.bfloat16)
    order = torch.randperm(count, generator=random).tolist()
    table = torch.zeros(len(lengths), max(needed) + 1, dtype=torch.int32)
    for item, length in enumerate(lengths):
        own = torch.tensor([order.pop() for _ in range(needed[item])], dtype=torch.int64)
        table[item, : len(own)] = own
        at = torch.arange(length)
        k, v = (torch.randn(length, kv_heads, dim, generator=random) * spread for _ in "kv")
        kv_write(k, v, pages, own[at // PAGE] * PAGE + at % PAGE, stats)
    q = torch.randn(len(lengths), heads, dim, generator=random)
    return q, stats, table, torch.tensor(lengths, dtype=torch.int32), pages


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([1, 16, 33, 70]), min_size=1, max_size=2),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    spread=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_plain_torch_and_bound_every_key(lengths, heads, spread, seed):
    q, stats, table, seq_lens, pages = case(lengths, *heads, spread=spread, seed=seed)
    wanted = naive.page_scores(q.double(), stats, table, seq_lens)
    close([blocked.page_scores(q, stats, table, seq_lens)], [wanted])
    close([triton.page_scores(q, stats, table, seq_lens, pages=16, interpreted=True)], [wanted])
    group = heads[0] // heads[1]
    for item, length in enumerate(lengths):
        for at in range(length):
            key = pages[table[item, at // PAGE], 0, :, at % PAGE].repeat_interleave(group, 0)
            exact = (q[item].double() * key).sum(-1).view(heads[1], group).amax(1)
            assert (wanted[item, :, at // PAGE] >= exact - 1e-9).all()
    assert (wanted == -torch.inf).sum() == sum(heads[1] * (table.shape[1] - -(-length // PAGE)) for length in lengths)


def test_queries_of_two_bytes():
    q, stats, table, seq_lens, _ = case()
    wanted = naive.page_scores(q.bfloat16().double(), stats, table, seq_lens)
    close([triton.page_scores(q.bfloat16(), stats, table, seq_lens, pages=16, interpreted=True)], [wanted])
    close([page_scores(q.bfloat16(), stats, table, seq_lens)], [wanted])


def test_a_page_out_of_range_is_not_read():
    q, stats, table, seq_lens, _ = case()
    wild = table.clone()
    wild[0, 1] = 1000
    scores = triton.page_scores(q, stats, wild, seq_lens, pages=16)
    assert (scores[0, :, 1] == -torch.inf).all()
    assert torch.equal(scores[1], triton.page_scores(q, stats, table, seq_lens, pages=16)[1])


@given(
    lengths=st.lists(st.integers(0, 400), min_size=1, max_size=3),
    numbers=st.sampled_from([(4, 1, 2), (3, 1, 2), (20, 2, 1), (1, 0, 0), (2, 1, 1)]),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 99),
)
def test_chosen_pages_are_the_forced_and_the_highest(lengths, numbers, levels, seed):
    budget, first, last = numbers
    width = 13
    found = torch.randint(levels, (len(lengths), 2, width), generator=torch.Generator().manual_seed(seed)).float()
    seq_lens = torch.tensor(lengths, dtype=torch.int32)
    options = {"page": PAGE, "budget": budget, "first": first, "last": last}
    found = found.masked_fill(torch.arange(width) * PAGE >= seq_lens[:, None, None], -torch.inf)
    chosen = select_pages(found, seq_lens, **options)
    assert torch.equal(chosen, naive.select_pages(found, seq_lens, **options))
    assert chosen.shape == (len(lengths), 2, budget)


def test_a_planted_key_is_read_and_enough_pages_are_dense_attention():
    q, stats, table, seq_lens, pages = case((330,), heads=2, kv_heads=1)
    page, place = int(table[0, 5]), 7
    pages[page, 0, 0, place] = q[0].mean(0) * 20
    kv_write(
        pages[page, 0].transpose(0, 1),
        pages[page, 1].transpose(0, 1),
        pages.clone(),
        torch.arange(32) + page * 32,
        stats,
    )
    chosen = select_pages(page_scores(q, stats, table, seq_lens), seq_lens, page=PAGE, budget=4)
    assert 5 in chosen[0, 0].tolist() and {0, 9, 10} <= set(chosen[0, 0].tolist())
    pools = pages[:, 0].transpose(1, 2), pages[:, 1].transpose(1, 2)
    options = {"scale": 0.3, "page": PAGE}
    sparse, some = attn_decode(q[:, None], *pools, table, seq_lens, **options, page_ids=chosen)
    whole, every = attn_decode(q[:, None], *pools, table, seq_lens, **options)
    recall = (some - every).exp()
    assert recall.min() > 0.5 and recall.max() <= 1 + 1e-6
    chosen = select_pages(page_scores(q, stats, table, seq_lens), seq_lens, page=PAGE, budget=11)
    again, _ = attn_decode(q[:, None], *pools, table, seq_lens, **options, page_ids=chosen)
    assert (again - whole).abs().max() < 1e-6 < (sparse - whole).abs().max()


def test_where_the_keys_of_a_page_are_alike_the_bound_is_their_score_and_the_choice_exact():
    random = torch.Generator().manual_seed(3)
    k = torch.randn(9, 2, 16, generator=random).bfloat16().float()
    pages, stats = torch.zeros(9, 2, 2, PAGE, 16), torch.zeros(9, 2, 2, 2, 16, dtype=torch.bfloat16)
    each = k.repeat_interleave(PAGE, 0)
    kv_write(each, each, pages, torch.arange(9 * PAGE), stats)
    q = torch.randn(1, 4, 16, generator=random)
    seq_lens = torch.tensor([9 * PAGE], dtype=torch.int32)
    found = page_scores(q, stats, torch.arange(9, dtype=torch.int32)[None], seq_lens)
    exact = torch.einsum("hgd,phd->hgp", q[0].view(2, 2, 16), k).amax(1)
    assert (found[0] - exact).abs().max() < 1e-5
    chosen = select_pages(found, seq_lens, page=PAGE, budget=3, first=0, last=0)
    assert torch.equal(chosen[0].long(), exact.topk(3, 1).indices.sort(1).values)


WRONG = {
    "do not fit together": lambda q, s, t, n: (q[..., :8], s, t, n),
    "not of 2 sequences": lambda q, s, t, n: (q, s, t[:1], n),
    "can't share": lambda q, s, t, n: (q[:, :3], s, t, n),
    "float64": lambda q, s, t, n: (q.double(), s, t, n),
    "stats are torch.float32": lambda q, s, t, n: (q, s.float(), t, n),
    "subs is 3": lambda q, s, t, n: (q, torch.cat([s, s[:, :, :1]], 2), t, n),
    "block_table is torch.int64": lambda q, s, t, n: (q, s, t.long(), n),
    "several devices": lambda q, s, t, n: (q, s.to("meta"), t, n),
    "q has strides": lambda q, s, t, n: (q.transpose(0, 2).contiguous().transpose(0, 2), s, t, n),
    "seq_lens holds 170": lambda q, s, t, n: (q, s, t, n + 100),
    "the table holds -1": lambda q, s, t, n: (q, s, t * 0 - 1, n),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    with pytest.raises(KernelError, match=said):
        page_scores(*WRONG[said](*case()[:4]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 2}, "budget of 2 pages"),
        ({"page": 24}, "page is 24"),
        ({"first": -1}, "-1 first"),
        ({"seq_lens": torch.tensor([1])}, "seq_lens is torch.int64"),
        ({"seq_lens": torch.ones(2, dtype=torch.int32)}, "seq_lens .2,. "),
    ],
)
def test_wrong_budgets_are_refused(options, said):
    options = {"seq_lens": torch.ones(1, dtype=torch.int32), "page": PAGE, "budget": 4, **options}
    with pytest.raises(KernelError, match=said):
        select_pages(torch.zeros(1, 2, 5), options.pop("seq_lens"), **options)


def build(group, dim, kind):
    signature = {"q": f"*{kind}", "stats": "*bf16", "tables": "*i32", "lengths": "*i32", "scores": "*fp32"}
    signature |= dict.fromkeys(("width", "count", "stride_item", "stride_head", "stride_table"), "i32")
    rows, upcast = triton.tile_rows(group), kind != "bf16"
    constants = {"KV_HEADS": 8, "GROUP": group, "ROWS": rows, "DIM": dim, "SUBS": 4, "SUB": 16, "UPCAST": upcast}
    constants |= {"PAGES": triton.tile_pages(rows, dim, upcast)}
    module = "turnout.kernels.page_scores.triton"
    return Build(module, "_bounds", signature, constants, triton.config(rows, upcast))


def test_it_compiles_for_sm_90_without_spills():
    builds = [build(4, 128, "bf16"), build(3, 64, "bf16")]
    assert all(built.fits and built.matrix for built in compiled(builds))


@pytest.mark.slow
def test_many_drafted_tokens_and_queries_of_another_type_fit_sm_90():
    """The largest group is that of 16 drafted tokens of 8 query heads each; in full precision there are no matrix
    instructions."""
    assert all(built.fits for built in compiled([build(128, 256, "bf16"), build(4, 128, "fp16")]))

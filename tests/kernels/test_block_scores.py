"""Antidiagonal scores: kernel and torch path equal the literal sums, and find what stands out."""

from __future__ import annotations

import math

import pytest
from support.kernels import Build, close, compiled

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from turnout.errors import KernelError  # noqa: E402
from turnout.kernels.block_scores import blocked, naive, triton  # noqa: E402
from turnout.kernels.block_scores.api import block_reduce, block_scores, pooled_scores  # noqa: E402


def case(queries=96, keys=96, heads=2, kv_heads=1, dim=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=random) for shape in ((queries, heads, dim), (keys, kv_heads, dim)))


@settings(max_examples=12, deadline=None)
@given(
    queries=st.sampled_from([1, 50, 64, 90]),
    past=st.sampled_from([0, 32]),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    sizes=st.sampled_from([(4, 16), (8, 16), (4, 4)]),
    seed=st.integers(0, 99),
)
def test_kernel_and_torch_path_equal_the_literal_sums(queries, past, heads, sizes, seed):
    q, k = case(queries, queries + past, *heads, seed=seed)
    options = {"scale": 0.25, "stride": sizes[0], "block": sizes[1], "q_start": past}
    wanted = naive.block_scores(q.double(), k.double(), **options)
    close([blocked.block_scores(q, k, **options)], [wanted])
    close([triton.block_scores(q, k, **options, tile=16)], [wanted])


def test_a_tile_counts_every_query_and_every_key_once():
    q, k = case(8, 8, heads=1)
    found = naive.block_scores(q.double(), k.double(), scale=1.0, stride=4, block=4)
    literal = sum(q[7 - step, 0].double() @ k[step, 0].double() for step in range(4)) / 4
    assert abs(float(found[0, 1, 0]) * 0.6931471805599453 - float(literal)) < 1e-12
    assert found[0, 0, 1] == -torch.inf, "the second tile lies after the first row"


def test_chunks_equal_one_shot():
    q, k = case(96, 96)
    options = {"scale": 0.25, "stride": 4, "block": 16}
    for path, more in ((blocked, {}), (triton, {"tile": 16})):
        whole = path.block_scores(q, k, **options, **more)
        pieces = [
            path.block_scores(q[at : at + 32], k[: at + 32], q_start=at, **options, **more) for at in range(0, 96, 32)
        ]
        for at, piece in enumerate(pieces):
            assert torch.equal(whole[:, at * 8 : at * 8 + 8, : piece.shape[2]], piece)
            assert whole[:, at * 8 : at * 8 + 8, piece.shape[2] :].isinf().all()


def test_masses_of_a_block_sum_up_to_its_rows():
    q, k = case(90, 90)
    masses = block_reduce(block_scores(q, k, scale=0.25, stride=4, block=16), 4)
    assert masses.shape == (2, 6, 6)
    assert torch.allclose(masses.sum(-1), torch.tensor([4.0, 4, 4, 4, 4, 3]).expand(2, -1))
    assert not masses.triu(1).any()


@pytest.mark.parametrize("pattern", ["column", "block", "odd diagonal", "even diagonal"])
def test_a_planted_pattern_stands_out_but_for_even_diagonals(pattern):
    """Queries and keys that match along a line, in noise: the blocks that the line crosses hold most of the mass."""
    q, k = case(256, 256, heads=1, dim=64, seed=3)
    q, k = q * 0.1, k * 0.1
    line = torch.zeros(16, 16, dtype=torch.bool)
    if pattern == "column":
        q[:, :, 0] = k[40:48, :, 0] = 14
        line[3:, 2] = True
    elif pattern == "block":
        q[128:144, :, 0] = k[32:48, :, 0] = 14
        line[8, 2] = True
    else:
        back = 71 if pattern == "odd diagonal" else 72
        k[:, 0] = torch.nn.functional.normalize(torch.randn(256, 64, generator=torch.Generator().manual_seed(1))) * 24
        q[back:] = k[:-back]
        line = torch.diag(torch.ones(12), -4).bool() | torch.diag(torch.ones(11), -5).bool()
        line[:5] = False
    masses = block_reduce(block_scores(q, k, scale=0.125, stride=4, block=16), 4)[0] / 4
    held = (masses * line)[line.any(1)].sum(1)
    assert held.max() < 0.7 if pattern == "even diagonal" else held.min() > 0.9, held


def test_a_single_key_keeps_one_share_of_its_height_in_the_stride():
    q, k = torch.zeros(64, 1, 16), torch.zeros(64, 1, 16)
    q[:, 0, 0], k[5, 0, 0] = 8.0, 8.0
    heights = [float(block_scores(q, k, scale=1.0, stride=stride, block=16)[0, -1, 0]) for stride in (2, 4, 8)]
    exact = [math.log2(16 // stride - 1 + math.exp(64 / stride)) for stride in (2, 4, 8)]
    assert heights == pytest.approx(exact, rel=1e-4)


def test_half_precision():
    q, k = (tensor.half() for tensor in case())
    options = {"scale": 0.25, "stride": 8, "block": 16}
    wanted = naive.block_scores(q.double(), k.double(), **options)
    close([triton.block_scores(q, k, **options, tile=16)], [wanted], 2e-3)
    close([blocked.block_scores(q, k, **options)], [wanted], 2e-3)
    assert block_scores(q, k, dtype=torch.bfloat16, **options).dtype == torch.bfloat16


def test_rows_of_a_wider_tensor_are_read_where_they_lie():
    q, k = case(64, 64, heads=2)
    wide = torch.randn(64, 5, 16)
    wide[:, 1:3] = q
    options = {"scale": 0.25, "stride": 8, "block": 16, "tile": 16}
    assert torch.equal(triton.block_scores(wide[:, 1:3], k, **options), triton.block_scores(q, k, **options))


def test_pooled_scores_are_the_softmax_of_the_means():
    q, k = case(40, 56, heads=4, kv_heads=2)
    found = pooled_scores(q, k, scale=0.25, block=16, q_start=16)
    for head in range(4):
        for row in range(3):
            mean = q[row * 16 : row * 16 + 16, head].double().mean(0)
            means = torch.stack([k[at : at + 16, head // 2].double().mean(0) for at in range(0, (row + 2) * 16, 16)])
            wanted = torch.softmax(means @ mean * 0.25, 0)
            assert (found[head, row, : row + 2] - wanted).abs().max() < 1e-6
            assert not found[head, row, row + 2 :].any()


WRONG = {
    "do not fit together": lambda q, k: ((q[..., :8], k), {}),
    "can't share": lambda q, k: ((q, k.repeat(1, 3, 1)), {}),
    "heads of 24 numbers": lambda q, k: (case(dim=24), {}),
    "one type of": lambda q, k: ((q, k.half()), {}),
    "several devices": lambda q, k: ((q, k.to("meta")), {}),
    "q has strides": lambda q, k: ((q.transpose(0, 2).contiguous().transpose(0, 2), k), {}),
    "stride is 3": lambda q, k: ((q, k), {"stride": 3}),
    "block is 24": lambda q, k: ((q, k), {"block": 24}),
    "block is 8": lambda q, k: ((q, k), {"block": 8}),
    "q_start is 8": lambda q, k: ((q, k), {"q_start": 8}),
    "100 keys for": lambda q, k: (case(96, 100), {}),
    "dtype is torch.int8": lambda q, k: ((q, k), {"dtype": torch.int8}),
}


@pytest.mark.parametrize("said", WRONG)
def test_wrong_inputs_are_refused_before_anything_runs(said):
    inputs, options = WRONG[said](*case())
    with pytest.raises(KernelError, match=said):
        block_scores(*inputs, scale=0.25, **{"block": 32, **options})


def test_wrong_parts_are_refused():
    with pytest.raises(KernelError, match="0 rows in a block"):
        block_reduce(torch.zeros(1, 2, 3), 0)


def test_it_compiles_for_sm_90_with_tma_and_wgmma_and_without_spills():
    builds = []
    for dim, stride in ((128, 16), (64, 8)):
        box = f"tensordesc<bf16[1,128,{min(dim, 64)}]>"
        signature = {"q": box, "k": box, "part": "*fp32", "scale": "fp32"}
        signature |= dict.fromkeys(("rows", "columns", "blocks", "offset"), "i32")
        constants = {"HEADS": 32, "GROUP": 4, "DIM": dim, "STRIDE": stride, "PER_BLOCK": 128 // stride}
        constants |= {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": min(dim, 64), "UPCAST": False}
        builds.append(Build("turnout.kernels.block_scores.triton", "_scores", signature, constants, triton.config()))
    for built in compiled(builds):
        assert built.fits and built.tma and built.matrix == ["wgmma"], built
        assert built.shared <= 113 * 1024, "two programs are to share a multiprocessor"

"""Parts of attention that are computed apart and merged equal one softmax over all keys."""

import pytest

torch = pytest.importorskip("torch")

from turnout.engines.paged import dense  # noqa: E402


def drawn(*shape: int, seed: int = 0) -> "torch.Tensor":
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def expected(query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", scale: float) -> tuple:
    scores = query.double() @ key.double().transpose(1, 2) * scale
    return torch.softmax(scores, -1) @ value.double(), torch.logsumexp(scores, -1)


@pytest.mark.parametrize("way", [dense.products, dense.split, lambda *args: dense.flash(*args, causal=False)])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize(("rows", "keys"), [(1, 4), (3, 1025), (24, 300), (300, 2100)])
def test_a_part_has_its_output_and_the_logarithm_of_its_sum(
    way, dtype: "torch.dtype", close: float, rows: int, keys: int
) -> None:
    query, key, value = (drawn(2, n, 64, seed=n).to(dtype) for n in (rows, keys, keys))
    output, sums = way(query, key.transpose(0, 1).contiguous().transpose(0, 1), value, 0.125)
    wanted, wanted_sums = expected(query, key, value, 0.125)
    assert output.dtype == dtype and sums.dtype == torch.float32
    assert (output.double() - wanted).abs().max() < close
    assert (sums.double() - wanted_sums).abs().max() < close


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_padding_is_not_seen(dtype: "torch.dtype", close: float) -> None:
    query, key, value = (drawn(2, 3, n, 64, seed=n).to(dtype) for n in (4, 90, 90))
    lengths = torch.tensor([90, 7])
    mask = torch.zeros(2, 1, 1, 90, dtype=dtype)
    mask.masked_fill_(torch.arange(90) >= lengths[:, None, None, None], -torch.inf)
    output, sums = dense.masked(query, key, value, mask, 0.125)
    for place, size in enumerate(lengths):
        wanted, wanted_sums = expected(query[place], key[place, :, :size], value[place, :, :size], 0.125)
        assert (output[place].double() - wanted).abs().max() < close
        assert (sums[place].double() - wanted_sums).abs().max() < close


def test_merged_parts_are_one_softmax() -> None:
    query, key, value = drawn(2, 5, 16, seed=1), drawn(2, 900, 16, seed=2), drawn(2, 900, 16, seed=3)
    parts = [
        dense.flash(query, key[:, begin:end], value[:, begin:end], 0.25, causal=False)
        for begin, end in ((0, 1), (1, 700), (700, 900))
    ]
    wanted, _ = expected(query, key, value, 0.25)
    assert (dense.accumulated(parts)[0].double() - wanted).abs().max() < 1e-5
    assert (dense.accumulated(parts[::-1])[0].double() - wanted).abs().max() < 1e-5

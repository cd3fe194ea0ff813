"""A policy that is fitted to made-up rewards finds the band that was planted in them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from turnout.progress import silent
from turnout.retrieval.band_network import BandNetwork, means
from turnout.training.band_fitting import Table, best_fixed, fit, nearest
from turnout.training.band_table import LdarRecipe, Places, Row, append, load

torch = pytest.importorskip("torch")

RECIPE = LdarRecipe(width=16, layers=1, steps=40, batch=32, learning_rate=1e-2, entropy=0.1)
PASSAGES = 24

Similarities = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(
    reward: Callable[[Similarities, Places, np.random.Generator], float],
    make: Callable[[np.random.Generator], Similarities] = lambda rng: rng.normal(0.3, 0.1, PASSAGES),
    count: int = 64,
) -> list[Row]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        similarities = make(rng).astype(np.float32)
        asked = int(rng.integers(1 << 30))
        rewards = [reward(similarities, band, np.random.default_rng(asked)) for band in RECIPE.bands]
        found.append(
            Row(f"q{number}", "train", "set", f"p{number}", tuple(similarities.tolist()), RECIPE.bands,
                tuple(rewards), tuple(200 * size for _, size in RECIPE.bands))
        )  # fmt: skip
    return found


def places(network: BandNetwork, given: Sequence[Row]) -> list[range]:
    from turnout.retrieval.band import Band

    table = Table.of(given)
    with torch.inference_mode():
        found = means(network(table.similarities, table.inside, table.sizes)).tolist()
    return [Band(*pair).places(len(row.similarities)) for pair, row in zip(found, given, strict=True)]


def distracted(patience: float) -> Callable[[Similarities, Places, np.random.Generator], float]:
    """A reader that needs the gold passage, among the best eight and most likely the first, and bears the others more
    or less."""

    def reward(similarities: Similarities, band: Places, rng: np.random.Generator) -> float:
        gold = min(int(rng.geometric(0.3)) - 1, 7)
        return float(band[0] <= gold < sum(band)) * math.exp(-band[1] / patience)

    return reward


def test_a_reader_that_bears_more_is_given_more() -> None:
    sizes = {}
    for patience in (1.5, 100.0):
        given = rows(distracted(patience))
        network, curve = fit(given, RECIPE, silent)
        assert curve[-1]["gain"] > curve[0]["gain"]
        found = places(network, given)
        assert np.mean([each.start for each in found]) < 1.5
        sizes[patience] = float(np.mean([len(each) for each in found]))
    assert sizes[1.5] < 3 < 6 < sizes[100.0]


def test_planted_distractors_at_the_top_are_left_out() -> None:
    def reward(similarities: Similarities, band: Places, rng: np.random.Generator) -> float:
        return float(band[0] <= 2 < sum(band)) - 0.8 * max(2 - band[0], 0) - 0.1 * band[1]

    given = rows(reward)
    network, _ = fit(given, RECIPE, silent)
    assert best_fixed(given, RECIPE) == (2, 1)
    found = places(network, given)
    assert np.mean([each.start in (2, 3) for each in found]) > 0.9
    assert np.mean([len(each) for each in found]) < 3


def test_what_the_similarities_tell_beats_the_best_fixed_band() -> None:
    """One passage stands out where it answers alone; where none does, as many as possible are needed."""

    def make(rng: np.random.Generator) -> Similarities:
        similarities = rng.normal(0.3, 0.05, PASSAGES)
        if rng.random() < 0.5:
            similarities[int(rng.integers(PASSAGES))] = 0.8
        return similarities

    def reward(similarities: Similarities, band: Places, rng: np.random.Generator) -> float:
        if similarities.max() > 0.6:
            return float(band[0] == 0) - 0.15 * band[1]
        return 0.15 * band[1] - float(band[0] > 0)

    given = rows(reward, make, 160)
    network, _ = fit(given[:120], dataclasses.replace(RECIPE, steps=100, learning_rate=3e-3), silent)
    unseen = given[120:]
    fixed = best_fixed(given[:120], RECIPE)
    learned = []
    for row, picked in zip(unseen, places(network, unseen), strict=True):
        size = min(RECIPE.sizes, key=lambda size: abs(size - len(picked)))
        learned.append(row.rewards[row.bands.index((picked.start, size))] if picked.start in RECIPE.skips else -9.0)
    assert np.mean(learned) > np.mean([row.rewards[nearest(row, fixed)] for row in unseen]) + 0.2


def test_the_same_seed_gives_the_same_policy_and_shares_are_of_one() -> None:
    given = rows(distracted(3.0), count=20)
    short = dataclasses.replace(RECIPE, steps=5)
    first, second = (fit(given, short, silent)[0] for _ in range(2))
    table = Table.of(given)
    with torch.inference_mode():
        shares, same = (table.shares(each(table.similarities, table.inside, table.sizes)) for each in (first, second))
        assert torch.equal(shares, same)
    assert torch.allclose(shares.sum(1), torch.ones(20), atol=1e-5)


def test_rows_of_all_lengths_and_rewards_that_do_not_differ() -> None:
    given = rows(distracted(3.0), count=8)
    short = Row("s", "train", "set", "p", (0.3, 0.1), ((0, 1), (0, 2)), (-1.0, -1.0), (9, 9))
    table = Table.of([*given, short])
    with torch.inference_mode():
        parameters = BandNetwork(16, 1)(table.similarities, table.inside, table.sizes)
        shares = table.shares(parameters)
        assert torch.isfinite(table.astray(parameters, shares)).all()
    assert torch.isfinite(shares).all()
    assert shares[-1, 2:].sum() == 0
    flat = Table.of([short, short])
    assert torch.isfinite(flat.rewards).all()
    assert nearest(short, (0, 8)) == 1 and nearest(short, (4, 8)) == 0


def test_rows_are_kept_one_by_one_and_half_a_line_is_none(tmp_path: Path) -> None:
    file, given = tmp_path / "rewards.jsonl", rows(distracted(3.0), count=3)
    assert load(file) == []
    for row in given:
        append(file, row)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id": "q3", "fo')
    assert load(file) == given
    assert file.read_bytes() == whole

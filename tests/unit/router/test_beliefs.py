import numpy as np
import pytest

from turnout.router.beliefs import Beliefs

PRIOR = Beliefs(np.array([0.5, 0.0]), np.array([[0.04, 0.01], [0.01, 0.09]]))


def test_one_observation_is_the_textbook_posterior() -> None:
    after = PRIOR.updated([[1.0, 0.0]], [0.9], 0.04)
    # Known mean and variance of a normal with normal noise: both weigh alike here.
    assert after.expected([1.0, 0.0]) == pytest.approx((0.7, np.sqrt(0.02)))
    assert after.mean[1] == pytest.approx(0.0 + 0.01 / 0.08 * 0.4), "what is correlated moves along"


def test_observations_in_any_order_and_in_parts_give_the_same() -> None:
    rng = np.random.default_rng(1)
    x, y, noise = rng.normal(size=(30, 2)), rng.normal(size=30), rng.uniform(0.1, 1, size=30)
    at_once = PRIOR.updated(x, y, noise)
    order = rng.permutation(30)
    shuffled = PRIOR.updated(x[order], y[order], noise[order])
    parts = PRIOR.updated(x[:7], y[:7], noise[:7]).updated(x[7:], y[7:], noise[7:])
    for other in (shuffled, parts):
        np.testing.assert_allclose(other.mean, at_once.mean)
        np.testing.assert_allclose(other.covariance, at_once.covariance, atol=1e-12)


def test_many_observations_find_the_truth() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(500, 2))
    found = PRIOR.updated(x, x @ [0.3, -0.2] + rng.normal(scale=0.1, size=500), 0.01)
    np.testing.assert_allclose(found.mean, [0.3, -0.2], atol=0.02)


def test_a_column_that_is_never_seen_keeps_its_prior_and_nothing_observed_changes_nothing() -> None:
    apart = Beliefs(np.array([0.5, 0.1]), np.diag([0.04, 0.0]))
    after = apart.updated([[1.0, 0.0]] * 5, [1.0] * 5, 0.1)
    assert after.mean[1] == 0.1 and after.covariance[1, 1] == 0
    assert PRIOR.updated(np.empty((0, 2)), [], 0.1) is PRIOR

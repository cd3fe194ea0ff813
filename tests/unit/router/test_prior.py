import numpy as np

from turnout.router.calibration.prior import fit


def test_effects_of_size_and_of_single_models_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    columns = rng.dirichlet([1, 1, 1], size=800)
    sizes = np.column_stack([np.linspace(-0.5, 1, 12), np.zeros(12)])
    base, slope, between = np.array([0.5, 0.3, 0.1]), np.array([0.2, -0.2, 0.0]), 0.05
    own = rng.normal(scale=between, size=(12, 3))
    truth = base + sizes[:, :1] * slope + own
    outcomes = columns @ truth.T + rng.normal(scale=0.3, size=(800, 12))
    outcomes[rng.random(outcomes.shape) < 0.1] = np.nan
    found = fit(columns, outcomes, sizes, np.ones(800))
    np.testing.assert_allclose(found.fixed[0], base, atol=0.05)
    np.testing.assert_allclose(found.fixed[1], slope, atol=0.08)
    assert 0.03 < np.sqrt(np.diag(found.covariance)).mean() < 0.08
    assert 0.085 < found.noise < 0.095

    new = found.of_size((1.0, 0.0))
    np.testing.assert_allclose(new.mean, base + slope, atol=0.08)
    seen = new.updated(columns, columns @ truth[-1], found.noise)
    assert np.abs(seen.mean - truth[-1]).max() < np.abs(new.mean - truth[-1]).max()


def test_a_column_without_data_keeps_its_width() -> None:
    rng = np.random.default_rng(6)
    columns = np.column_stack([rng.random(100), np.zeros(100)])
    found = fit(columns, columns[:, :1] + rng.normal(scale=0.1, size=(100, 4)), np.zeros((4, 2)), np.ones(100))
    assert found.fixed[0, 1] == 0
    assert abs(found.covariance[1, 1] - 0.01) < 1e-6

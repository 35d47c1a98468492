"""Scores against their definitions, standard errors against the spread of repeated samples."""

import numpy as np
import pytest
import sklearn.metrics

from cybackprop.cli.scores import accuracy, r2_and_rmse


def test_accuracy():
    logits = np.float32([[1, 2, 0], [3, 0, 0], [0, 1, 2], [0, 5, 1]])
    share, error = accuracy(logits, np.array([1, 0, 2, 2]))
    assert share == 0.75
    assert error == pytest.approx(np.sqrt((4 / 6) * (2 / 6) / 4))


@pytest.mark.parametrize("right", [0, 1])
def test_a_perfect_score_is_not_certain(right):
    share, error = accuracy(np.eye(2)[np.full(50, right)], np.ones(50))
    assert share == right and 0.01 < error < 0.05


def test_accuracy_s_error_is_the_spread_of_samples():
    rng = np.random.default_rng(0)
    drawn = [accuracy(np.eye(2)[(rng.random(200) < 0.8).astype(int)], np.ones(200)) for _ in range(2000)]
    assert np.mean([error for _, error in drawn]) == pytest.approx(np.std([share for share, _ in drawn]), rel=0.05)


def test_r2_and_rmse():
    rng = np.random.default_rng(0)
    y, noise = rng.normal(3, 2, size=500), rng.normal(size=500)
    r2, _, rmse, _ = r2_and_rmse(y + noise, y)
    assert r2 == pytest.approx(sklearn.metrics.r2_score(y, y + noise))
    assert rmse == pytest.approx(np.sqrt(np.mean(noise**2)))


def test_errors_of_r2_and_rmse_are_the_spread_of_samples():
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        y = rng.normal(size=300)
        drawn.append(r2_and_rmse(y + 0.7 * rng.normal(size=300), y))
    r2, r2_error, rmse, rmse_error = np.array(drawn).T
    assert r2_error.mean() == pytest.approx(r2.std(), rel=0.08)
    assert rmse_error.mean() == pytest.approx(rmse.std(), rel=0.08)


def test_edges():
    y = np.array([1.0, 2.0, 4.0])
    assert r2_and_rmse(y, y) == (1, 0, 0, 0)
    r2, r2_error, rmse, _ = r2_and_rmse(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    assert np.isnan(r2) and np.isnan(r2_error) and rmse == pytest.approx(np.sqrt(0.5))

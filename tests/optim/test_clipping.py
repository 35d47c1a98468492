"""Clipping against NumPy in float64."""

import math

import numpy as np
import pytest

import cybackprop as cb
from cybackprop import nn, optim

SHAPES = ((4, 3), (3,), (), (2, 2), (5,))
NORMS = (1.0, 2.0, 3.0, math.inf)


def parameters(rng, dtype="float64", scale=1.0):
    params = [cb.Parameter(np.zeros(s, dtype)) for s in SHAPES]
    for p in params[:-1]:                # the last has none
        p.grad = (scale * rng.normal(size=p.shape)).astype(dtype)
    return params


def joint(grads, p):
    return np.linalg.norm(np.concatenate([np.ravel(g).astype(np.float64) for g in grads]), p)


def grads(params):
    return [p.grad.numpy().copy() for p in params if p.grad is not None]


@pytest.mark.parametrize("dtype, rel", [("float64", 1e-14), ("float32", 1e-6)])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 3.0, 1e6])
@pytest.mark.parametrize("norm_type", NORMS)
def test_norm(norm_type, max_norm, dtype, rel, rng):
    params = parameters(rng, dtype)
    before = grads(params)
    norm = optim.clip_grad_norm(params, max_norm, norm_type)
    wanted = joint(before, norm_type)
    assert norm.shape == () and norm.item() == pytest.approx(wanted, rel=rel) and not norm.requires_grad
    factor = min(1.0, max_norm / (wanted + 1e-6))
    for g, old in zip(grads(params), before, strict=True):
        np.testing.assert_allclose(g, old * factor, rtol=2 * rel)
        assert g.dtype == dtype
    assert params[-1].grad is None


def test_small_gradients_stay_as_they_are(rng):
    params = parameters(rng)
    before = grads(params)
    optim.clip_grad_norm(params, 1e3)
    assert all(np.array_equal(g, old) for g, old in zip(grads(params), before, strict=True))


def test_default_norm_and_order(rng):
    """The second norm; the same bits wherever the parameters lie."""
    params = parameters(rng, "float32")
    twins = [cb.Parameter(p) for p in params]
    for p, q in zip(params, twins, strict=True):
        q.grad = p.grad
    optim.SGD(twins[2:], lr=0.1)
    optim.SGD(twins, lr=0.1)
    assert optim.clip_grad_norm(params, 1.0).item() == optim.clip_grad_norm(iter(twins), 1.0).item()
    assert all(np.array_equal(a, b) for a, b in zip(grads(params), grads(twins), strict=True))


def test_both_dtypes_at_once(rng):
    params = [*parameters(rng), *parameters(rng, "float32")]
    wanted = joint(grads(params), 2)
    assert optim.clip_grad_norm(params, 1.0).item() == pytest.approx(wanted, rel=1e-6)
    assert joint(grads(params), 2) == pytest.approx(1.0, rel=1e-5)
    assert {p.grad.dtype == p.dtype for p in params if p.grad is not None} == {True}


def test_nothing_to_clip():
    assert optim.clip_grad_norm([cb.Parameter([1.0])], 1.0).item() == 0
    assert optim.clip_grad_norm([], 1.0).item() == 0
    optim.clip_grad_value([cb.Parameter([1.0])], 1.0)


@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("bad, wanted", [(math.nan, math.nan), (math.inf, math.inf)])
def test_gradients_that_are_no_numbers_show(norm_type, bad, wanted, rng):
    params = parameters(rng)
    params[0].grad = np.full((4, 3), bad)
    assert optim.clip_grad_norm(params, 1.0, norm_type).item() == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize("norm_type", NORMS[:-1])         # the largest of nothing is refused, as in torch
def test_parameters_without_elements(norm_type):
    p, empty = cb.Parameter([0.0, 0.0]), cb.Parameter(np.zeros((0, 3)))
    p.grad, empty.grad = [3.0, 3.0], np.zeros((0, 3))
    wanted = joint([[3.0, 3.0]], norm_type)
    assert optim.clip_grad_norm([empty, p], 1.0, norm_type).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limit", [0.0, 0.25, 10.0])
def test_value(limit, dtype, rng):
    params = parameters(rng, dtype)
    before = grads(params)
    optim.clip_grad_value(params, limit)
    assert all(np.array_equal(g, np.clip(old, -limit, limit)) for g, old in zip(grads(params), before, strict=True))


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_a_single_parameter_is_clipped_or_refused(clip):
    """Its rows are tensors without a gradient: nothing would happen, in silence."""
    w = cb.Parameter([30.0, 40.0])
    w.grad = [30.0, 40.0]
    try:
        clip(w, 1.0)
    except TypeError:
        return
    assert abs(w.grad.numpy()).max() <= 1


def test_in_a_training_step(rng):
    """No record is left behind, and the optimizer uses the clipped gradient."""
    layer = nn.Dense(3, 2, dtype="float64", rng=0)
    opt, before = optim.SGD(layer.parameters(), lr=1.0), layer.state_dict()
    (1e3 * layer(rng.normal(size=(4, 3))).sum()).backward()
    optim.clip_grad_norm(layer.parameters(), 0.5)
    assert all(not p.grad.requires_grad for p in layer.parameters())
    opt.step()
    assert joint([before[n] - p.numpy() for n, p in layer.named_parameters()], 2) == pytest.approx(0.5, rel=1e-8)

"""Units silenced, weights and time constants moved, timescales of gates: loops, and a network with a unit deleted."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import (
    GRU,
    LSTM,
    RNN,
    LeakyRNN,
    Linear,
    ablate,
    ablate_readout,
    ablation_groups,
    forget_gate_timescale,
    half_damage,
    perturb_tau,
    perturb_weights,
    relative_accuracy,
    simulate,
)
from dynlab.models.recurrence import LowRank

N = 8  # units of every network here
KEY = jax.random.key(0)
LEAKY = LeakyRNN(n_units=N, activation="leaky_relu", placement="outside", tau_spread=1.0, self_connections=False)
GATED = {"RNN": RNN(n_units=N), "GRU": GRU(n_units=N), "LSTM": LSTM(n_units=N),
         "GRU before": GRU(n_units=N, reset="before")}
MODELS = {**GATED, "LeakyRNN": LEAKY, "low rank": LeakyRNN(n_units=N, rank=2, tau_spread=1.0)}
READOUT = Linear(jax.random.normal(jax.random.key(1), (N, 8)), jnp.arange(8.0))  # four heads of two logits


def zeroed(params, unit):
    """The parameters without a unit, by a loop over blocks and entries."""
    out = {f.name: np.array(getattr(params, f.name)) for f in dataclasses.fields(params)
           if f.name in ("weight_ih", "weight_hh")}
    for row in range(unit, out["weight_hh"].shape[0], N):
        out["weight_hh"][row] = 0.0
        out["weight_ih"][row] = 0.0
    out["weight_hh"][:, unit] = 0.0
    return out


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "LeakyRNN"])
def test_ablate_zeroes_row_column_and_input_of_every_block(name):
    params = MODELS[name].init(KEY)
    cut = jax.vmap(ablate, (None, 0))(params, jnp.arange(N))
    for unit in range(N):
        wanted = zeroed(params, unit)
        for field, value in wanted.items():
            np.testing.assert_array_equal(getattr(cut, field)[unit], value)
        for field in ("bias_ih", "bias_hh"):
            np.testing.assert_array_equal(getattr(cut, field)[unit], getattr(params, field))
    assert cut.weight_hh.dtype == params.weight_hh.dtype


def test_several_units_and_biases():
    params = GATED["LSTM"].init(KEY)
    cut = ablate(params, [1, 6], biases=True)
    gone = np.zeros(4 * N, bool)
    gone[[1, 6, N + 1, N + 6, 2 * N + 1, 2 * N + 6, 3 * N + 1, 3 * N + 6]] = True
    for field in ("bias_ih", "bias_hh", "weight_ih", "weight_hh"):
        assert not np.any(np.asarray(getattr(cut, field))[gone])
        assert np.all(np.any(np.asarray(getattr(cut, field)).reshape(4 * N, -1)[~gone], axis=1))
    twice = ablate(ablate(params, 1), 6)
    np.testing.assert_array_equal(ablate(params, np.array([1, 6])).weight_hh, twice.weight_hh)


def deleted(params, unit):
    """The parameters of the network that never had the unit."""
    def cut(a):
        a = np.asarray(a)
        if a.shape[0] % N:
            return a
        blocks = a.reshape(-1, N, *a.shape[1:])
        return np.delete(blocks, unit, axis=1).reshape(-1, *a.shape[1:])

    w = params.weight_hh
    small = LowRank(cut(w.left), cut(w.right)) if isinstance(w, LowRank) else np.delete(cut(w), unit, axis=1)
    return jax.tree.map(jnp.asarray, dataclasses.replace(
        params, weight_hh=small, **{f.name: cut(getattr(params, f.name)) for f in dataclasses.fields(params)
                                    if f.name not in ("weight_hh", "noise")}))


@pytest.mark.conformance
@pytest.mark.parametrize("name", MODELS)
def test_the_others_run_as_if_the_unit_had_never_been(name, tol):
    model, unit = MODELS[name], 3
    params = model.init(KEY)
    u = jax.random.normal(jax.random.key(2), (12, 1))
    whole = simulate(model, ablate(params, unit), u).outputs
    small = simulate(dataclasses.replace(model, n_units=N - 1), deleted(params, unit), u).outputs
    np.testing.assert_allclose(np.delete(whole, unit, axis=1), small, atol=tol(1e-5, 1e-13))
    assert np.max(np.abs(np.delete(simulate(model, params, u).outputs, unit, axis=1) - small)) > 1e-3


def test_the_readout_is_cut_for_every_head():
    flat = READOUT
    cut = ablate_readout(flat, jnp.array([2, 5]))
    assert not np.any(np.asarray(cut.weights)[[2, 5]])
    np.testing.assert_array_equal(np.delete(cut.weights, [2, 5], 0), np.delete(flat.weights, [2, 5], 0))
    np.testing.assert_array_equal(cut.intercept, flat.intercept)
    stacked = Linear(flat.weights.reshape(N, 4, 2).swapaxes(0, 1), flat.intercept.reshape(4, 2))
    cut = jax.vmap(ablate_readout, (None, 0))(stacked, jnp.arange(N))
    for unit in range(N):
        assert not np.any(np.asarray(cut.weights)[unit, :, unit])
        assert np.sum(np.asarray(cut.weights)[unit] != 0) == 4 * 2 * (N - 1)


@pytest.mark.conformance
def test_perturbed_weights_lie_at_the_wanted_distance(tol):
    params = LEAKY.init(KEY)
    keys = jax.random.split(KEY, 3)
    sizes = jnp.array([0.0, 0.1, 3.0])
    moved = jax.vmap(lambda k: jax.vmap(partial(perturb_weights, params, k))(sizes))(keys)
    step = np.asarray(moved.weight_hh - params.weight_hh)
    norm = np.linalg.norm(params.weight_hh)
    np.testing.assert_allclose(np.linalg.norm(step, axis=(2, 3)), np.tile(sizes * norm, (3, 1)), rtol=tol(1e-5, 1e-12))
    np.testing.assert_array_equal(moved.weight_hh[:, 0], np.tile(params.weight_hh, (3, 1, 1)))
    assert not np.any(np.asarray(moved.weight_hh)[..., np.arange(N), np.arange(N)])
    np.testing.assert_allclose(step[:, 2], 30.0 * step[:, 1], rtol=1e-3, atol=1e-5)  # one direction a key
    assert np.max(np.abs(step[0, 2] - step[1, 2])) > 0.1
    free = perturb_weights(params, keys[0], 0.1, keep_zeros=False)
    assert np.all(np.diag(free.weight_hh) != 0)
    silent = dataclasses.replace(params, weight_hh=jnp.zeros((N, N)))
    np.testing.assert_array_equal(perturb_weights(silent, keys[0], 0.1).weight_hh, silent.weight_hh)


def test_a_low_rank_network_is_perturbed_as_its_matrix():
    params = MODELS["low rank"].init(KEY)
    dense = np.asarray(params.weight_hh.dense())
    moved = perturb_weights(params, KEY, 0.5)
    assert np.linalg.norm(moved.weight_hh - dense) == pytest.approx(0.5 * np.linalg.norm(dense), rel=1e-5)
    assert np.linalg.matrix_rank(moved.weight_hh) == N
    assert simulate(MODELS["low rank"], moved, jnp.zeros((12, 1))).outputs.shape == (12, N)


def test_perturbed_taus_only_grow():
    params = LEAKY.init(KEY)
    moved = jax.vmap(lambda s: perturb_tau(params, KEY, s))(jnp.array([0.0, 0.5]))
    step = np.asarray(moved.tau - params.tau)
    np.testing.assert_array_equal(step[0], 0.0)
    assert np.all(step[1] > 0)
    np.testing.assert_allclose(np.linalg.norm(step[1]), 0.5 * np.linalg.norm(params.tau), rtol=1e-5)
    np.testing.assert_array_equal(moved.weight_hh[1], params.weight_hh)


def test_groups_are_the_ends_of_the_sorted_taus():
    tau = np.array([3.0, 1.0, np.nan, 2.0, 9.0, 1.5, 7.0])
    short, long = ablation_groups(tau, 2)
    np.testing.assert_array_equal(short, [1, 5])
    np.testing.assert_array_equal(long, [6, 4])
    np.testing.assert_array_equal(jax.jit(partial(ablation_groups, n=2))(tau)[1], [6, 4])


def test_relative_accuracy():
    np.testing.assert_allclose(relative_accuracy([0.9, 0.7, 0.5, 0.4], 0.9), [1.0, 0.5, 0.0, -0.25], atol=1e-6)
    np.testing.assert_array_equal(np.isnan(relative_accuracy(0.6, [0.5, 0.4, 0.6])), [True, True, False])


@pytest.mark.conformance
def test_half_damage_is_interpolated_in_the_logarithm(tol):
    assert half_damage([0.1, 10.0], [1.0, 0.0]) == pytest.approx(1.0, rel=tol(1e-5, 1e-12))
    assert half_damage([0.0, 0.1, 1.0], [1.0, 0.75, 0.25]) == pytest.approx(10**-0.5, rel=tol(1e-5, 1e-12))
    assert half_damage([0.0, 0.1, 1.0], [1.0, 0.0, 0.0]) == pytest.approx(0.05, rel=tol(1e-5, 1e-12))
    sizes = [0.01, 0.1, 1.0, 10.0]
    curves = [[1.0, 0.5, 0.4, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.5], [0.4, 0.3, 0.9, 0.6], [1.0] * 3 + [0.0]]
    wanted = [0.1, 10**-1.5, np.nan, np.nan, 10**0.5]
    np.testing.assert_allclose(half_damage(sizes, curves), wanted, rtol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(jax.jit(half_damage)(jnp.array(sizes), jnp.array(curves)), wanted, rtol=tol(1e-5, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["GRU", "GRU before", "LSTM"])
def test_gate_timescale_is_that_of_a_loop(name, tol):
    model, washout = GATED[name], 4
    params = model.init(KEY)
    u = jax.random.normal(jax.random.key(2), (2, 12, 1))
    kept = []
    for series in np.asarray(u):
        state = model.init_state(params)
        for t, x in enumerate(series):
            if t > washout:
                rows = slice(N, 2 * N)
                now = (np.asarray(params.weight_ih)[rows] @ x + np.asarray(params.bias_ih)[rows]
                       + np.asarray(params.weight_hh)[rows] @ np.asarray(model.observe(params, state))
                       + np.asarray(params.bias_hh)[rows])
                kept.append(1.0 / (1.0 + np.exp(-now)))
            state = model.step(params, state, jnp.asarray(x))
    wanted = 1.0 / (1.0 - np.mean(kept, axis=0))
    np.testing.assert_allclose(forget_gate_timescale(model, params, u, washout=washout), wanted, rtol=tol(1e-5, 1e-12))


def test_gate_timescale_knows_gates_near_one_and_dt():
    model = LSTM(n_units=N, dt=0.5)
    params = model.init(KEY)
    still = jax.tree.map(jnp.zeros_like, params)
    bias = jnp.zeros(4 * N).at[N : 2 * N].set(jnp.linspace(-20.0, 20.0, N))
    tau = forget_gate_timescale(model, still.replace(bias_ih=bias), jnp.zeros((12, 1)))
    np.testing.assert_allclose(tau, 0.5 * (1.0 + np.exp(np.linspace(-20.0, 20.0, N))), rtol=1e-5)  # to 2.4e8


PARAMS = LEAKY.init(KEY)
BAD = {
    "no fields": (lambda: ablate((1, 2), 0), TypeError, r"params must have weight_ih, .* got tuple"),
    "several networks": (lambda: ablate(jax.tree.map(lambda a: a[None], PARAMS), 0), ValueError, r"one network, got w"),
    "unit": (lambda: ablate(PARAMS, [0, N]), ValueError, r"units must be in \[0, 7\], got \[0, 8\]"),
    "negative unit": (lambda: ablate_readout(READOUT, -1), ValueError, r"units must be in \[0, 7\], got -1"),
    "half unit": (lambda: ablate(PARAMS, 0.5), TypeError, r"units must be integers, got dtype float"),
    "squares": (lambda: ablate_readout(READOUT.replace(squares="all"), 0), ValueError, r"one row a unit"),
    "size": (lambda: perturb_weights(PARAMS, KEY, -0.1), ValueError, r"size must be finite and in \[0.0, inf\]"),
    "seed": (lambda: perturb_tau(PARAMS, 0, 0.1), TypeError, r"key must be a typed key"),
    "no tau": (lambda: perturb_tau(GATED["RNN"].init(KEY), KEY, 0.1), TypeError, r"params must have time constants"),
    "groups": (lambda: ablation_groups(PARAMS.tau, 5), ValueError, r"at most half the number of units .*\(8\), got 5"),
    "group of none": (lambda: ablation_groups(PARAMS.tau, 0), ValueError, r"n must be at least 1, got 0"),
    "falling sizes": (lambda: half_damage([1.0, 0.1], [1.0, 0.0]), ValueError, r"sizes must rise, got \[1.0, 0.1"),
    "curve": (lambda: half_damage([0.1, 1.0], [1.0, 0.5, 0.0]), ValueError, r"one value a size \(2\)"),
    "no gate": (lambda: forget_gate_timescale(GATED["RNN"], GATED["RNN"].init(KEY), np.zeros((12, 1))), TypeError,
                r"model must be an LSTM or a GRU, got RNN"),
    "short": (lambda: forget_gate_timescale(GATED["GRU"], GATED["GRU"].init(KEY), np.zeros((12, 1)), washout=11),
              ValueError, r"at least 2 time steps after the washout, got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()

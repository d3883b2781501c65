"""The driven tasks, and what every task promises: shapes, purity, vmap over keys and knobs, refusals."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import check, tasks

KEY = jax.random.key(20)
SMALL = {
    "Delay": tasks.Delay(length=60, max_delay=5),
    "Narma": tasks.Narma(length=60, transient=20),
    "MackeyGlass": tasks.MackeyGlass(length=60, transient=50.0, max_step=0.5),
    "Lorenz": tasks.Lorenz(length=60, transient=1.0),
    "Rossler": tasks.Rossler(length=60, transient=5.0),
    "Henon": tasks.Henon(length=60, transient=20),
}
WIDTHS = {
    "Delay": (1, 6),
    "Narma": (1, 1),
    "MackeyGlass": (1, 1),
    "Lorenz": (3, 3),
    "Rossler": (3, 3),
    "Henon": (2, 2),
}
KNOBS = {
    "Delay": {"low": -0.4, "high": 0.3},
    "Narma": {"alpha": 0.2, "beta": 0.03, "gamma": 1.0, "delta": 0.05, "high": 0.4},
    "MackeyGlass": {"tau": 14.3, "beta": 0.19, "gamma": 0.11, "exponent": 9.3},
    "Lorenz": {"sigma": 9.0, "rho": 27.0, "beta": 2.5},
    "Rossler": {"a": 0.19, "b": 0.21, "c": 5.0},
    "Henon": {"a": 1.3, "b": 0.28},
}
SYSTEMS = ("MackeyGlass", "Lorenz", "Rossler", "Henon")


@pytest.mark.parametrize("name", SMALL)
def test_trial_layout(name: str) -> None:
    task = SMALL[name]
    trial = task.sample(KEY)
    n_in, n_out = WIDTHS[name]
    assert trial.inputs.shape == (60, n_in)
    assert trial.targets.shape == (60, n_out)
    assert trial.mask.shape == (60,)
    for leaf in jax.tree.leaves(trial):
        assert leaf.dtype == check.default_float()
        assert np.all(np.isfinite(leaf))
    assert set(np.unique(trial.mask)) <= {0.0, 1.0}
    assert trial.mask[-1] == 1.0
    other = task.sample(jax.random.key(21))
    assert not np.allclose(trial.inputs, other.inputs)
    jax.tree.map(np.testing.assert_array_equal, trial, task.sample(KEY))


@pytest.mark.parametrize("name", SMALL)
def test_vmap_over_keys_and_jit(name: str) -> None:
    keys = jax.random.split(KEY, 3)
    batch = jax.jit(jax.vmap(SMALL[name].sample))(keys)
    for i, key in enumerate(keys):
        one = SMALL[name].sample(key)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4), batch, one)


@pytest.mark.parametrize(("name", "knob"), [(name, knob) for name in KNOBS for knob in KNOBS[name]])
def test_every_coefficient_is_a_knob(name: str, knob: str) -> None:
    """A traced coefficient gives what the concrete one gives, and differs from the default."""
    value = KNOBS[name][knob]
    swept = jax.vmap(lambda v: dataclasses.replace(SMALL[name], **{knob: v}).sample(KEY))
    default = getattr(SMALL[name], knob)
    batch = swept(jnp.asarray([default, value]))
    alone = dataclasses.replace(SMALL[name], **{knob: value}).sample(KEY)
    # 60 samples are too short for chaos to matter much at these tolerances
    np.testing.assert_allclose(batch.targets[1], alone.targets, rtol=2e-2, atol=2e-2)
    assert np.abs(np.asarray(batch.targets[0] - batch.targets[1])).max() > 1e-3


@pytest.mark.parametrize("name", SYSTEMS)
def test_sample_is_prediction_of_the_series(name: str) -> None:
    task = dataclasses.replace(SMALL[name], horizon=7)
    series, trial = task.series(KEY), task.sample(KEY)
    assert series.shape == (60, WIDTHS[name][0])
    np.testing.assert_allclose(trial.inputs, series, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(trial.targets[:-7], trial.inputs[7:])
    assert np.all(np.asarray(trial.mask) == 1.0)


def test_second_call_compiles_nothing() -> None:
    from dynlab.tasks import narma

    SMALL["Narma"].sample(KEY)
    before = narma._sample._cache_size()
    dataclasses.replace(SMALL["Narma"], alpha=0.25).sample(jax.random.key(3))
    assert narma._sample._cache_size() == before


def test_delay_targets_are_the_past_inputs() -> None:
    task = tasks.Delay(length=4000, max_delay=7, low=-0.25, high=0.75)
    trial = task.sample(KEY)
    u = np.asarray(trial.inputs)[:, 0]
    for t in (7, 8, 100, 3999):
        np.testing.assert_array_equal(trial.targets[t], u[t - 7 : t + 1][::-1])
    np.testing.assert_array_equal(trial.mask, (np.arange(4000) >= 7).astype(float))
    assert np.all(np.asarray(trial.targets)[:7] == 0.0)
    assert u.min() >= -0.25
    assert u.max() < 0.75
    assert abs(u.mean() - 0.25) < 4 * (1 / 12 / 4000) ** 0.5
    assert abs(u.var() - 1 / 12) < 0.004
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / 4000**0.5


@pytest.mark.parametrize(("order", "coefficients"), [(10, (0.3, 0.05, 1.5, 0.1)), (30, (0.2, 0.04, 1.5, 0.001))])
def test_narma_is_its_recursion(order: int, coefficients: tuple[float, ...]) -> None:
    """Against a NumPy loop: started from the trial's own first `order` outputs, every later one follows."""
    task = tasks.Narma(*coefficients, length=300, order=order)
    trial = task.sample(KEY)
    u, target = np.asarray(trial.inputs, float)[:, 0], np.asarray(trial.targets, float)[:, 0]
    alpha, beta, gamma, delta = coefficients
    y = np.zeros(301)  # y[t]; target[t] = y[t + 1]
    y[1 : order + 1] = target[:order]
    for t in range(order, 300):
        y[t + 1] = alpha * y[t] + beta * y[t] * y[t - order + 1 : t + 1].sum() + gamma * u[t - order + 1] * u[t] + delta
    np.testing.assert_allclose(target, y[1:], rtol=1e-4, atol=1e-5)
    assert u.min() >= 0
    assert u.max() < 0.5
    np.testing.assert_array_equal(trial.mask, (np.arange(300) >= order).astype(float))


def test_narma_redraws_diverging_sequences() -> None:
    """With a hotter quadratic term a good part of first tries diverges; with redraws none is handed out."""
    hot = {"beta": 0.06, "length": 300}
    keys = jax.random.split(KEY, 200)
    once = jax.vmap(tasks.Narma(**hot, max_tries=1).sample)(keys)
    lost = np.isnan(np.asarray(once.targets)).any((1, 2))
    assert 0.05 < lost.mean() < 0.95
    assert np.all(np.asarray(once.mask)[lost] == 0.0)
    assert np.all(np.isnan(np.asarray(once.inputs)[lost]))
    often = jax.vmap(tasks.Narma(**hot, max_tries=400).sample)(keys)
    assert np.abs(np.asarray(often.targets)).max() <= 2.0
    np.testing.assert_array_equal(np.asarray(often.mask).sum(1), 290)
    # a first try that was good is kept as it was
    np.testing.assert_array_equal(np.asarray(often.targets)[~lost], np.asarray(once.targets)[~lost])


def test_narma_that_always_diverges_is_nan_and_masked() -> None:
    trial = tasks.Narma(alpha=1.5, length=100, max_tries=3).sample(KEY)
    assert np.all(np.isnan(trial.targets))
    assert np.all(np.isnan(trial.inputs))
    assert np.all(np.asarray(trial.mask) == 0)


BAD = [
    (tasks.Delay(max_delay=-1), "max_delay"),
    (tasks.Delay(length=10, max_delay=10), "max_delay"),
    (tasks.Delay(low=0.5, high=0.5), "low"),
    (tasks.Delay(length=2.5), "length"),
    (tasks.Narma(order=0), "order"),
    (tasks.Narma(length=10), "length"),
    (tasks.Narma(alpha=float("nan")), "alpha"),
    (tasks.Narma(max_tries=0), "max_tries"),
    (tasks.Narma(bound=0.0), "bound"),
    (tasks.MackeyGlass(tau=0.05), "tau"),
    (tasks.MackeyGlass(tau=0.0), "tau"),
    (tasks.MackeyGlass(beta=-1.0), "beta"),
    (tasks.MackeyGlass(dt=0.0), "dt"),
    (tasks.Lorenz(max_step=-0.1), "max_step"),
    (tasks.Lorenz(rho=float("inf")), "rho"),
    (tasks.Lorenz(horizon=0), "horizon"),
    (tasks.Rossler(transient=-1.0), "transient"),
    (tasks.Rossler(c="5"), "c must"),
    (tasks.Henon(length=0), "length"),
    (tasks.Henon(transient=1.5), "transient"),
]


@pytest.mark.parametrize(("task", "word"), BAD)
def test_bad_values_are_refused_by_name(task: object, word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=word):
        task.sample(KEY)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SMALL)
def test_untyped_key_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="key must be a typed key"):
        SMALL[name].sample(jnp.zeros(2, jnp.uint32))

"""RLS against ridge, LMS, and rate FORCE on a chaotic network of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import ESN, generate, ridge, tree
from dynlab.readout.force import force
from dynlab.readout.online import lms, rls, rls_init, rls_step


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    return x, x @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(60, 2))


@pytest.mark.conformance
def test_rls_equals_ridge_after_every_step(data, tol):
    x, y = data
    state = rls_init(5, 2, ridge=0.3)
    step = jax.jit(rls_step)
    for t in range(60):
        state = step(state, x[t], y[t])
        xx = x[: t + 1]
        expected = np.linalg.solve(xx.T @ xx + 0.3 * np.eye(5), xx.T @ y[: t + 1])
        np.testing.assert_allclose(state.weights, expected, atol=tol(2e-5, 1e-11))
    batch = ridge(x, y, 0.3, intercept=False)
    scanned = rls(x, y, ridge=0.3)
    np.testing.assert_allclose(scanned.readout.weights, batch.weights, atol=tol(2e-5, 1e-11))
    np.testing.assert_allclose(scanned.readout(x), batch(x), atol=tol(1e-4, 1e-11))
    halves = rls(x[30:], y[30:], state=rls(x[:30], y[:30], ridge=0.3).state)
    np.testing.assert_array_equal(halves.readout.weights, scanned.readout.weights)
    np.testing.assert_allclose(scanned.outputs[0], 0.0)  # predicted before it was learned


@pytest.mark.conformance
def test_forgetting_is_weighted_ridge(data, tol):
    x, y = data
    weight = 0.9 ** np.arange(59, -1, -1)[:, None]
    expected = np.linalg.solve(x.T @ (weight * x) + 0.9**60 * 0.3 * np.eye(5), x.T @ (weight * y))
    got = rls(x, y, ridge=0.3, forgetting=0.9).readout.weights
    np.testing.assert_allclose(got, expected, atol=tol(2e-4, 1e-10))


@pytest.mark.conformance
def test_long_run_stays_symmetric_and_positive():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 20)) @ np.diag(10.0 ** -np.linspace(0, 2, 20)) @ rng.normal(size=(20, 20))
    inverse = np.asarray(rls(x, x[:, :1], ridge=1.0).state.inverse, float)
    np.testing.assert_array_equal(inverse, inverse.T)
    assert np.linalg.eigvalsh(inverse).min() > 0


@pytest.mark.conformance
@pytest.mark.parametrize("normalized", [False, True])
def test_lms_converges_and_follows_its_formula(data, normalized, tol):
    x, y = data
    w = np.zeros((5, 2))
    for phi, target in zip(x, y, strict=True):
        rate = 0.05 / (phi @ phi if normalized else 1.0)
        w = w + rate * np.outer(phi, target - phi @ w)
    got = lms(x, y, rate=0.05, normalized=normalized)
    np.testing.assert_allclose(got.readout.weights, w, atol=tol(1e-5, 1e-12))
    long = lms(np.tile(x, (50, 1)), np.tile(y, (50, 1)), rate=0.05, normalized=normalized)
    best = ridge(x, y, 1e-6, intercept=False).weights
    assert np.abs(long.readout.weights - best).max() < 0.1 < np.abs(best).max()


@tree.dataclass
class RateNetwork:
    """tau dx/dt = -x + g J tanh(x) + J_z z by Euler (Sussillo & Abbott 2009), feedback z as input; units: ms."""

    g: float = 1.5
    n_units: int = tree.static(default=500)
    p: float = tree.static(default=0.1)
    tau: float = tree.static(default=10.0)
    dt: float = tree.static(default=1.0)
    smooth: bool = tree.static(default=True)

    def init(self, key):
        k1, k2, k3 = jax.random.split(key, 3)
        shape = (self.n_units, self.n_units)
        j = jax.random.normal(k1, shape) * jax.random.bernoulli(k2, self.p, shape) / (self.p * self.n_units) ** 0.5
        return {"j": self.g * j, "j_z": jax.random.uniform(k3, (self.n_units, 1), minval=-1.0, maxval=1.0)}

    def init_state(self, params, key=None):
        return 0.5 * jax.random.normal(jax.random.key(0) if key is None else key, (self.n_units,))

    def step(self, params, state, x, key=None):
        return state + self.dt / self.tau * (-state + params["j"] @ jnp.tanh(state) + params["j_z"] @ x)

    def observe(self, params, state):
        return jnp.tanh(state)


def harmonics(n_steps, period=600.0):
    """The four-harmonic target of Sussillo & Abbott's demonstration, divided by 1.5."""
    t = np.arange(1, n_steps + 1)
    amplitudes = (1.3, 1.3 / 2, 1.3 / 6, 1.3 / 3)
    return (sum(a * np.sin((i + 1) * 2 * np.pi * t / period) for i, a in enumerate(amplitudes)) / 1.5)[:, None]


def train_and_run(model, seed, n_train=10_000, n_free=3000):
    """(RMS of the last training second, free-run RMSE over five periods)."""
    params = model.init(jax.random.key(seed))
    target = harmonics(n_train + n_free)
    trained = force(model, params, target[:n_train], key=jax.random.key(100 + seed))
    rms = float(np.sqrt(np.mean((np.asarray(trained.outputs)[-1000:] - target[n_train - 1000 : n_train]) ** 2)))
    # generate's output i is the readout of the state before step i: the first repeats the last trained sample
    free = np.asarray(generate(model, params, trained.readout, n_free, state=trained.state).outputs)[1:]
    return rms, float(np.sqrt(np.mean((free - target[n_train : n_train + n_free - 1]) ** 2))), trained


def test_force_learns_four_harmonics_and_sustains_them():
    """Expected: last-second RMS of .001 to .015, free run of .004 to .16 over five periods, depending on the seed."""
    rms, free, trained = train_and_run(RateNetwork(), 0)
    assert rms <= 0.02
    assert free <= 0.2
    change = np.asarray(trained.weight_change)
    assert np.all(change[1::2] == 0)  # update_every = 2
    again = generate(RateNetwork(), RateNetwork().init(jax.random.key(0)), trained.readout, 2, state=trained.state)
    np.testing.assert_allclose(again.outputs[0], trained.outputs[-1], atol=1e-2)  # z(T-1), as the docstring says
    assert change[-1000:].mean() < 0.05 * change[:1000].mean()


def test_force_fails_below_chaos():
    rms, _, _ = train_and_run(RateNetwork(g=0.8, n_units=200), 0)
    assert rms > 0.1


@pytest.mark.conformance
def test_force_schedule_is_one_run_in_parts(tol):
    """Learning off: weights stay; two calls that hand over state and learner equal one; vmap over seeds."""
    model, target = RateNetwork(n_units=50), harmonics(400)
    params, key = model.init(jax.random.key(1)), jax.random.key(2)
    whole = force(model, params, target, key=key, learn_from=100, learn_until=300)
    assert not np.any(np.asarray(whole.outputs[:100]))
    assert not np.any(np.asarray(whole.weight_change[300:]))
    first = force(model, params, target[:250], key=key, learn_from=100)
    second = force(
        model, params, target[250:], key=key, learn_until=50, state=first.state, learner=first.learner, t0=250
    )
    np.testing.assert_array_equal(np.concatenate([first.outputs, second.outputs]), whole.outputs)

    def one(key):
        return force(model, params, target, key=key).outputs

    several = jax.vmap(one)(jax.random.split(key, 2))
    np.testing.assert_allclose(several[1][:100], one(jax.random.split(key, 2)[1])[:100], atol=tol(1e-2, 1e-8))


X, Y = np.ones((10, 2)), np.ones((10, 1))
NETWORK = ESN(n_inputs=1, n_units=5)


def forced(model=NETWORK, targets=Y, **options):
    return force(model, model.init(jax.random.key(0)), targets, **options)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: rls(X, Y[:9]), "targets and features must have the same length"),
        (lambda: rls(X, Y, ridge=0.0), "ridge must be finite and in"),
        (lambda: rls(X, Y, forgetting=1.1), "forgetting must be finite and in"),
        (lambda: rls(X, Y, forgetting=np.array([0.9, 1.0])), r"forgetting must be one number, got shape \(2,\)"),
        (lambda: rls(X, Y, ridge=np.array([0.9, 1.0])), r"ridge must be one number, got shape \(2,\)"),
        (lambda: rls(X, Y, state=rls_init(3, 1)), r"state must hold weights \(2, 1\) and inverse \(2, 2\)"),
        (lambda: lms(X, Y, rate=np.array([0.1])), r"rate must be one number, got shape \(1,\)"),
        (lambda: rls(X, Y * np.inf), "targets must be finite"),
        (lambda: rls_init(3, 1, weights=np.ones((2, 1))), r"weights must have shape \(3, 1\), got \(2, 1\)"),
        (lambda: lms(X, Y, rate=-0.1), "rate must be finite and in"),
        (lambda: lms(X[None], Y[None]), r"features must have shape \(time, features\)"),
        (lambda: force(RateNetwork(n_units=5), {}, Y[:, 0]), "targets must have shape"),
        (lambda: force(RateNetwork(n_units=5), {}, Y, alpha=0.0), "alpha must be finite and in"),
        (lambda: force(RateNetwork(n_units=5), {}, Y, update_every=0), "update_every must be at least 1"),
        (lambda: force(RateNetwork(n_units=5), {}, Y, learn_from=11), "learn_from must be in"),
        (lambda: forced(ESN(n_inputs=1, n_units=5, noise=0.1)), "key must be given for a model with noise"),
        (lambda: forced(ESN(n_inputs=1, n_units=5, n_feedback=1)), "model must take the fed-back output as its only"),
        (lambda: forced(targets=X), "targets must have 1 features, the width of the model's input, got 2"),
        (lambda: forced(state=np.zeros(4)), "state must be one state of the model"),
        (lambda: forced(learner=rls_init(4, 1)), r"learner must hold weights \(5, 1\) and inverse \(5, 5\)"),
        (lambda: forced(alpha=np.array([1.0, 2.0])), "alpha must be one number"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_learner_of_another_kind():
    with pytest.raises(TypeError, match=r"state must be an RLS state .* got ArrayImpl"):
        rls(X, Y, state=jnp.zeros((2, 1)))

"""Kernel and generalisation rank, separation: exact cases, NumPy, limits."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_esn
import pytest

from dynlab import ESN, esn_from_arrays
from dynlab.analysis.separation import generalisation_rank, kernel_rank, separation
from dynlab.keys import named

TANH = ESN(n_units=15, spectral_radius=0.8, bias_scaling=0.2, connectivity=1.0)
STEPS = 60


def delay_line(n):
    """The states are the last n inputs."""
    return esn_from_arrays(np.diag(np.ones(n - 1), -1), np.eye(n)[:, :1], activation="identity")


@pytest.mark.conformance
@pytest.mark.parametrize(("n", "m", "rank"), [(15, 30, 15), (15, 6, 6)])
def test_delay_line(n, m, rank, key):
    """Independent streams fill a delay line: rank min(N, m)."""
    model, params = delay_line(n)
    got = kernel_rank(model, key, params=params, n_streams=m, n_steps=STEPS, threshold=1e-3)
    assert int(got.rank) == rank
    assert got.singular_values.shape == (min(n, m),)


def test_short_streams_fill_only_what_they_reach(key):
    model, params = delay_line(15)
    assert int(kernel_rank(model, key, params=params, n_steps=7).rank) == 7


@pytest.mark.conformance
def test_equals_numpy(key, tol):
    """Both ranks from a NumPy loop over the same streams."""
    params = TANH.init(key)
    draw = lambda role, shape: np.asarray(jax.random.uniform(named(key, role), shape, minval=-1.0), float)  # noqa: E731
    streams = 0.5 * draw("kernel_rank.streams", (30, STEPS))
    noisy = 0.5 * (draw("generalisation_rank.stream", (STEPS,)) + 0.1 * draw("generalisation_rank.jitter", (30, STEPS)))
    for found, inputs in (
        (kernel_rank(TANH, key, params=params, n_steps=STEPS, amplitude=0.5), streams),
        (generalisation_rank(TANH, key, params=params, n_steps=STEPS, amplitude=0.5), noisy),
    ):
        states = np.array([numpy_esn.run(params, u[:, None])[-1] for u in inputs])
        s = np.linalg.svd(states, compute_uv=False)
        np.testing.assert_allclose(found.singular_values, s, atol=tol(3e-6, 1e-12) * s[0])
        assert int(found.rank) == np.sum(s > 0.01 * s[0])


def test_generalisation_rank_limits(key):
    """Small where noise fades, that of the kernel where it grows; 1 without noise."""
    params = TANH.init(key)
    radii = jnp.asarray([0.1, 6.0])
    at = lambda f, **kw: jax.vmap(lambda r: f(TANH, key, params=params.replace(spectral_radius=r), n_steps=STEPS, **kw).rank)(radii)  # noqa: E731
    kernel, general = at(kernel_rank), at(generalisation_rank, input_noise=0.02)
    assert int(general[0]) <= 2
    assert int(general[0]) < int(kernel[0])
    assert int(general[1]) == int(kernel[1]) == 15
    np.testing.assert_array_equal(at(generalisation_rank, input_noise=0.0)[0], 1)


def test_vmapped_equals_looped(key, tol):
    params = TANH.init(key)
    radii = jnp.asarray([0.3, 0.9])
    one = lambda r: kernel_rank(TANH, key, params=params.replace(spectral_radius=r), n_steps=STEPS)  # noqa: E731
    many = jax.vmap(one)(radii)
    for i, radius in enumerate(radii):
        np.testing.assert_allclose(many.singular_values[i], one(radius).singular_values, atol=tol(1e-4, 1e-11))


def test_separation_of_a_linear_network(key):
    """x - y is linear in u - v: the mean square distance is that of the inputs times the power of the response."""
    model, params = delay_line(10)
    got = separation(model, key, params=params, n_steps=1000, n_pairs=500)
    share = np.array([0.0, 0.05, 0.1, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(got.input_distance, np.sqrt(2 * share / 3), rtol=0.02)  # share 0 gives exactly 0
    assert float(got.state_distance[0]) == 0
    assert np.all(np.diff(got.state_distance) > 0)
    # the line holds 10 samples of the difference; at share 1 its mean distance is near the root mean square
    assert float(got.state_distance[-1]) == pytest.approx(np.sqrt(2 / 3), rel=0.05)


def test_separation_in_order_and_chaos(key):
    """Order: states follow the inputs, near zero for near inputs. Chaos: far apart whatever the distance."""
    params = TANH.init(key)
    one = lambda r: separation(TANH, key, params=params.replace(spectral_radius=r), replaced=(0.02, 1.0))  # noqa: E731
    order, chaos = jax.vmap(one)(jnp.asarray([0.2, 6.0])).state_distance
    assert float(order[0]) < 0.2 * float(order[1])
    assert float(chaos[0]) > 0.8 * float(chaos[1])


def test_status_and_no_second_compilation(key, count_compilations):
    radii = jnp.asarray([1.0, 1e9])
    loop = ESN(n_units=8, activation="identity", topology="cycle")
    params = loop.init(key)

    @jax.jit
    def all_of(radii, key):
        def one(r):
            p = params.replace(spectral_radius=r)
            return (kernel_rank(loop, key, params=p, n_steps=STEPS), generalisation_rank(loop, key, params=p, n_steps=STEPS),
                    separation(loop, key, params=p, n_steps=STEPS, n_pairs=5))
        return jax.vmap(one)(radii)

    kernel, general, apart = all_of(radii, key)
    for got in (kernel, general, apart):
        np.testing.assert_array_equal(got.status, [0, 1])
    np.testing.assert_array_equal(kernel.rank, [8, -1])
    assert np.isnan(apart.state_distance[1]).all()
    assert np.isnan(kernel.singular_values[1]).all()
    other = jax.random.key(5)
    fresh = TANH.init(other)
    kernel_rank(TANH, key, params=fresh, n_steps=STEPS)
    with count_compilations() as counted:
        kernel_rank(TANH, other, params=fresh, n_steps=STEPS, amplitude=0.7, threshold=0.02)
    assert counted.compilations == 0


KEY = jax.random.key(0)
CASES = {
    "no model": (lambda: kernel_rank(3, KEY), TypeError, r"model must be a Map"),
    "old key": (lambda: kernel_rank(TANH, np.zeros(2, np.uint32)), TypeError, r"key must be a typed key"),
    "two inputs": (lambda: kernel_rank(ESN(n_inputs=2), KEY), ValueError, r"model must have one input channel .* got input sizes 2"),
    "no streams": (lambda: kernel_rank(TANH, KEY, n_streams=0), ValueError, r"n_streams must be at least 1, got 0"),
    "no steps": (lambda: generalisation_rank(TANH, KEY, n_steps=0), ValueError, r"n_steps must be at least 1, got 0"),
    "threshold in rounding": (lambda: kernel_rank(TANH, KEY, threshold=1e-17), ValueError, r"threshold must be at least .* below 1, got 1e-17"),
    "threshold 1": (lambda: kernel_rank(TANH, KEY, threshold=1), ValueError, r"threshold must be at least"),
    "amplitude": (lambda: kernel_rank(TANH, KEY, amplitude=-1.0), ValueError, r"amplitude must be finite and in \(0.0, inf\]"),
    "noise": (lambda: generalisation_rank(TANH, KEY, input_noise=-0.1), ValueError, r"input_noise must be finite and in \[0.0, inf\]"),
    "share": (lambda: separation(TANH, KEY, replaced=(0.5, 1.5)), ValueError, r"replaced must be finite and in \[0.0, 1.0\]"),
    "one share": (lambda: separation(TANH, KEY, replaced=0.5), ValueError, r"replaced must have shape \(n_levels,\), got \(\)"),
    "no pairs": (lambda: separation(TANH, KEY, n_pairs=0), ValueError, r"n_pairs must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()

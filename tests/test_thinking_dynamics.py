"""Whether thinking comes to rest: against plain loops, another road to an exponent, and the decay that is seen."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import phase_map, simulate, trajectory, tree, two_trajectory_exponent
from dynlab.analysis.thinking_dynamics import long_thought, resting_points, thought_exponents
from dynlab.models.ctm import CTM
from dynlab.models.ctm_baselines import AttentiveLSTM
from dynlab.models.thinking import think

KEY = jax.random.key(0)
FULL = CTM(n_inputs=2, n_tokens=3, n_symbols=2, positions="rotation", n_units=6, n_attention=4, n_heads=2, n_history=3,
           n_hidden=2, n_out=2, n_action=2, decay=0.1)
UNITS = FULL.replace(coordinates="units")
ALONE = FULL.replace(n_symbols=None, positions="none", n_heads=0, n_action=0)
TOKENS = np.array([[0, 1, 1], [1, 0, 0]])
REAL = np.array([[0.4, -1.0], [1.5, 0.2]])


@functools.cache
def drawn(model, gain=1.0, asks=1.0):
    """The parameters as drawn, with the weights of the private networks times a gain, and those of the query times
    another: then it matters where it looks."""
    params = jax.jit(model.init)(KEY)
    louder = jax.tree.map(lambda leaf: gain * leaf if leaf.ndim == 3 else leaf, params.neurons)
    if params.reader is not None:
        query = params.reader.query
        params = params.replace(reader=params.reader.replace(query=query.replace(weight=asks * query.weight)))
    return params.replace(neurons=louder)


@functools.cache
def run(model, *gains):
    """One shape for all tests: what is compiled once serves all."""
    return long_thought(model, drawn(model, *gains), TOKENS if model.n_heads else REAL, 120, n_states=4)


def vectors(states):
    return jax.vmap(lambda state: tree.phase(state)[0])(states)


def test_speeds_are_those_of_thinking():
    found, params = run(UNITS, 4.0), drawn(UNITS, 4.0)
    states = think(UNITS, params, TOKENS, 120, record=("state",)).records["state"]
    start = UNITS.init_state(params)
    z = np.concatenate([np.tile(start.active, (2, 1, 1)), states.active], axis=1)
    history = np.concatenate([np.tile(start.history, (2, 1, 1, 1)), states.history], axis=1)
    speed = np.linalg.norm(np.diff(z, axis=1), axis=-1)
    np.testing.assert_allclose(found.speed, speed, atol=1e-4)
    np.testing.assert_allclose(found.size, np.linalg.norm(z[:, 1:], axis=-1), atol=1e-4)
    both = np.sqrt(speed**2 + np.sum(np.diff(history, axis=1) ** 2, axis=(2, 3)))
    np.testing.assert_allclose(found.change, both, atol=1e-3)
    assert found.states.shape == (2, 5, 6 * 3 + 6)
    np.testing.assert_array_equal(found.states[0, 0], tree.phase(start)[0])
    for row, tick in enumerate((30, 60, 90, 120)):
        want = np.concatenate([history[:, tick].reshape(2, -1), z[:, tick]], axis=1)
        np.testing.assert_allclose(found.states[:, row + 1], want, atol=1e-4)
    np.testing.assert_array_equal(found.states[:, -1], vectors(found.state))


def test_when_it_rests():
    """From the entry `rest` on, all speeds are within the tolerance, and the one before is not."""
    found = run(ALONE)
    ratio = np.asarray(found.speed / found.size)
    for b, rest in enumerate(np.asarray(found.rest)):
        assert 0 < rest < 60
        assert np.all(ratio[b, rest:] <= 1e-4)
        assert ratio[b, rest - 1] > 1e-4
    np.testing.assert_array_equal(found.period, 1)
    strict = long_thought(ALONE, drawn(ALONE), REAL, 120, n_states=4, tolerance=1e-5)
    assert np.all(strict.rest > found.rest)


def turning(period):
    """A thinker that goes round in a circle."""
    angle = 2 * np.pi / period

    class Wheel:
        smooth, dt, bounded = True, 1.0, True

        def encode(self, params, tokens):
            return tokens

        def init_state(self, params, key=None):
            return jnp.array([1.0, 0.0])

        def step(self, params, state, x, key=None):
            turn = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], state.dtype)
            return turn @ state + 0.0 * x[0]

    return jax.tree_util.register_static(Wheel)()


def test_a_cycle_has_its_period():
    found = long_thought(turning(5), {}, np.zeros((1, 2)), 40, n_states=1, max_period=9)
    assert int(found.period[0]) == 5
    assert int(found.rest[0]) == 40
    np.testing.assert_allclose(found.speed, 2 * np.sin(np.pi / 5), rtol=1e-5)
    assert int(long_thought(turning(10), {}, np.zeros((1, 2)), 40, n_states=1, max_period=9).period[0]) == 0


def test_exponents_have_a_second_road():
    """Without attention nothing but the coordinates feeds back, so two trajectories part as tangents grow."""
    params = drawn(ALONE)
    found = thought_exponents(ALONE, params, REAL, 120, k=1, warmup=60, key=KEY)
    assert found.exponents.shape == (2, 1)
    other = two_trajectory_exponent(phase_map(ALONE, params), np.tile(REAL[0], (120, 1)), warmup=60, key=KEY)
    assert float(found.exponents[0, 0]) == pytest.approx(float(other.exponent), abs=0.02)
    points = resting_points(ALONE, params, REAL, run(ALONE))  # at rest it is ln |mu|
    np.testing.assert_allclose(found.exponents[:, 0], np.log(np.abs(points.multiplier)), atol=0.02)
    np.testing.assert_allclose(points.timescale, -1 / found.exponents[:, 0], rtol=0.1)


def test_sums_that_forget_slowly_lead_the_exponents():
    """With the sums as coordinates the first exponent is minus the decay of the pairs; the units forget faster."""
    full = thought_exponents(FULL, drawn(FULL), TOKENS, 120, warmup=60, key=KEY)
    np.testing.assert_allclose(full.exponents[:, 0], -0.1, atol=0.01)


def test_a_resting_point_is_where_thinking_ends_and_its_multiplier_how_fast():
    found = resting_points(ALONE, drawn(ALONE), REAL, run(ALONE))
    system = phase_map(ALONE, drawn(ALONE))
    assert np.all(found.nearest >= 0)
    assert np.all(found.distance < 1e-4)
    for b in range(2):
        point = np.asarray(found.points[b].z[found.nearest[b]])
        assert 0 < found.timescale[b] < 20
        assert found.timescale[b] == pytest.approx(-1 / np.log(abs(found.multiplier[b])))
        near = point + 0.05 * np.random.default_rng(b).normal(size=point.shape)
        x = np.tile(REAL[b], (20, 1))
        away = np.linalg.norm(np.asarray(trajectory(system, x, z0=near)) - point, axis=1)
        assert np.log(away[11] / away[3]) / 8 == pytest.approx(np.log(abs(found.multiplier[b])), abs=0.25)


def test_sums_are_held_at_the_end_of_the_run():
    params, thought = drawn(UNITS, 4.0, 100.0), run(UNITS, 4.0, 100.0)
    found = resting_points(UNITS, params, TOKENS, thought)
    assert np.all(found.distance < 1e-4)
    for b in range(2):
        state = jax.tree.map(lambda leaf, b=b: leaf[b], thought.state)
        x = UNITS.encode(params, TOKENS[b])
        point = jnp.asarray(found.points[b].z[found.nearest[b]])
        np.testing.assert_allclose(phase_map(UNITS, params, state)(point, x), point, atol=1e-5)
        moved = phase_map(UNITS, params)(point, x) - point  # with the sums of the start
        assert np.linalg.norm(moved) > 1e-3
        assert found.points[b].verdict.startswith("index sum +1")


def test_a_thought_that_swings_has_no_stable_point():
    found = run(ALONE, 4.0)
    np.testing.assert_array_equal(found.rest, 120)
    points = resting_points(ALONE, drawn(ALONE, 4.0), REAL, found)
    assert np.all(np.abs(points.multiplier) > 1)
    assert np.all(points.timescale < 0)


@pytest.mark.slow
def test_any_thinker_will_do():
    model = AttentiveLSTM(2, 3, n_units=6, n_attention=4, n_heads=2)
    params, tokens = model.init(KEY), np.ones((2, 3, 2)) * np.array([[[0.5]], [[-1.0]]])
    found = long_thought(model, params, tokens, 100, n_states=2)
    assert np.all(found.rest < 100)
    x = model.encode(params, tokens[0])
    end = simulate(model, params, jax.tree.map(lambda leaf: np.tile(leaf, (100, 1)), x)).state
    np.testing.assert_allclose(found.states[0, -1], tree.phase(end)[0], atol=1e-5)
    points = resting_points(model, params, tokens, found)
    assert np.all(points.distance < 1e-3)


def test_nothing_compiles_again(count_compilations):
    run(ALONE)
    other, moved = jax.tree.map(lambda leaf: leaf * 1, drawn(ALONE)), REAL * 0.5
    with count_compilations() as count:
        jax.block_until_ready(long_thought(ALONE.replace(), other, moved, 120, n_states=4))
    assert count.compilations == 0


BAD = {
    "no thinker": (lambda: long_thought(object(), None, REAL, 3), TypeError, r"model must have the methods encode"),
    "no batch": (lambda: long_thought(ALONE, drawn(ALONE), 1.0, 3), ValueError, r"tokens must be a batch of at least"),
    "one sample": (lambda: long_thought(ALONE, drawn(ALONE), REAL[0], 3), ValueError, r"tokens must be a batch, one"),
    "symbol": (lambda: long_thought(UNITS, drawn(UNITS), TOKENS + 1, 3), ValueError, r"tokens must be .*\[0, 1\]"),
    "NaN": (lambda: long_thought(ALONE, drawn(ALONE), REAL * np.nan, 3), ValueError, r"tokens must be finite"),
    "states": (lambda: long_thought(ALONE, drawn(ALONE), REAL, 10, n_states=3), ValueError,
               r"n_states must divide n_ticks = 10, got 3"),
    "ticks": (lambda: thought_exponents(ALONE, drawn(ALONE), REAL, 0, key=KEY), ValueError, r"n_ticks must be at"),
    "warmup": (lambda: thought_exponents(ALONE, drawn(ALONE), REAL, 5, warmup=5, key=KEY), ValueError, r"warmup must"),
    "tolerance": (lambda: long_thought(ALONE, drawn(ALONE), REAL, 3, n_states=1, tolerance=-1.0), ValueError,
                  r"tolerance must be"),
    "other run": (lambda: resting_points(ALONE, drawn(ALONE), REAL[:1], run(ALONE)), ValueError,
                  r"run must be of these 1 tokens and 24 coordinates, got states \(2, 5, 24\)"),
    "parameters": (lambda: long_thought(ALONE, drawn(ALONE, np.nan), REAL, 3, n_states=1), ValueError,
                   r"params.* must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()

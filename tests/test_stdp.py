"""Spiking plasticity: rules by hand, the plastic liquid against a NumPy loop, the slow modulator, short-term plasticity."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_lsm
import pytest

from dynlab import simulate
from dynlab.models.lattice import Lattice, RandomInput
from dynlab.models.lsm import LSM
from dynlab.plasticity import (
    CalciumGate,
    Plastic,
    ShortTerm,
    SlowModulator,
    calcium_gate,
    pair_stdp,
    spike_trace,
    three_factor,
)

KEY = jax.random.key(0)
LIQUID = LSM(n_inputs=12, wiring=Lattice(shape=(3, 3, 4)), input_wiring=RandomInput(share=0.5), form="ell",
             weight_scale=2.0, input_scale=3.0)
EVENTS = (np.random.default_rng(3).random((120, 12)) < 0.15).astype(float)


def test_pair_rule_by_hand():
    """Source before target strengthens, target before source weakens; an inhibitory synapse the other way round."""
    call = lambda w, pre, post, s_pre, s_post, **kind: float(pair_stdp(  # noqa: E731
        jnp.asarray(w), *(jnp.asarray(v) for v in (pre, post, s_pre, s_post)), potentiation=0.2, depression=0.1, **kind))
    assert call(1.0, 0.5, 0.0, 0.0, 1.0) == pytest.approx(1.1)
    assert call(1.0, 0.0, 0.5, 1.0, 0.0) == pytest.approx(0.95)
    assert call(-1.0, 0.5, 0.0, 0.0, 1.0, inhibitory=True) == pytest.approx(-1.05)
    assert call(-1.0, 0.0, 0.5, 1.0, 0.0, inhibitory=True) == pytest.approx(-0.9)
    assert call(0.01, 0.0, 0.5, 1.0, 0.0, low=0.0, high=3.0) == 0.0
    assert call(2.99, 0.5, 0.0, 0.0, 1.0, low=0.0, high=3.0) == 3.0


def test_trace_and_gate():
    assert float(spike_trace(jnp.asarray(1.0), jnp.asarray(1.0), 10.0, increment=0.1)) == pytest.approx(1.1 * np.exp(-0.1))
    up, down = calcium_gate(jnp.array([35.0, 36.0, 38.0, 60.0]), 37.0, 2.0)
    np.testing.assert_array_equal(up, [0, 0, 1, 0])
    np.testing.assert_array_equal(down, [0, 1, 0, 0])


def test_three_factor_waits_for_its_modulator():
    """A change at time 0, a reward at time 20 ms: the weight moves by eta M exp(-20/tau) then, and not before."""
    w, e = jnp.asarray(1.0), jnp.asarray(0.0)
    for t in range(21):
        w, e = three_factor(w, e, jnp.asarray(0.5 if t == 0 else 0.0), 1.0 if t == 20 else 0.0, tau=50.0, learning_rate=0.1)
        if t == 19:
            assert float(w) == 1.0
    assert float(w) == pytest.approx(1.0 + 0.1 * 0.5 * np.exp(-20.0 / 50.0), abs=1e-6)


def test_slow_modulator_goes_to_its_steady_state():
    """A* = b + g q, 63.2 % of the way after tau."""
    slow = SlowModulator(tau=100.0, gain=0.02, bias=0.15)
    a, path = slow.start(), []
    for _ in range(1000):
        a = slow.step(a, jnp.asarray(5.0))
        path.append(float(a))
    assert path[-1] == pytest.approx(0.25, abs=1e-4)
    assert (path[99] - 0.15) / 0.1 == pytest.approx(1 - np.exp(-1), abs=0.01)


@pytest.mark.parametrize(("use", "recovery", "facilitation", "wanted"), [
    (0.5, 1100.0, 50.0, [0.5000, 0.3091, 0.1510, 0.0839, 0.0584, 0.0433]),
    (0.05, 125.0, 1200.0, [0.0500, 0.0924, 0.1255, 0.1503, 0.1685, 0.2136]),
    (0.25, 700.0, 20.0, [0.2500, 0.2036, 0.1581, 0.1264, 0.1047, 0.0649]),
    (0.32, 144.0, 60.0, [0.3200, 0.3208, 0.2715, 0.2412, 0.2271, 0.2170]),
])
def test_short_term_plasticity_at_20_hz(use, recovery, facilitation, wanted):
    """Pulses 1 to 5 and 10 of a regular train, from the recursion of Tsodyks and Markram."""
    synapse = ShortTerm(use, recovery, facilitation)
    state, found = synapse.start(1), []
    for t in range(50 * 9 + 1):
        state, efficacy = synapse.step(state, jnp.ones(1) * (t % 50 == 0))
        if t % 50 == 0:
            found.append(float(efficacy[0]))
    np.testing.assert_allclose([*found[:5], found[9]], wanted, atol=1e-4)


@pytest.mark.conformance
@pytest.mark.parametrize(("gain", "calcium"), [(0.015, None), (None, None), (None, (1.0, 1.5, 100.0))])
def test_plastic_liquid_equals_a_numpy_loop(gain, calcium, tol, x64):
    model = Plastic(LIQUID, modulator=None if gain is None else SlowModulator(gain=gain), fade=0.99,
                    gate=None if calcium is None else CalciumGate(*calcium))
    params = model.init(KEY)
    dense = LIQUID.replace(form="dense").init(KEY)
    w, w_in = 2.0 * np.asarray(dense.recurrent.matrix[0], float), 3.0 * np.asarray(dense.inputs.matrix[0], float)
    n = len(EVENTS) if x64 else 60
    spikes, want, want_in, depression = numpy_lsm.run_plastic(w, w_in, EVENTS[:n], gain=gain, fade=0.99, calcium=calcium)
    run = simulate(model, params, EVENTS[:n], record=lambda params, state, x: state.liquid.spikes)
    assert spikes[:, :36].sum() > 10
    np.testing.assert_array_equal(run.outputs, spikes)
    for form, values, matrix in ((params.liquid.recurrent, run.state.recurrent, want),
                                 (params.liquid.inputs, run.state.inputs, want_in)):
        row, post = np.nonzero(np.asarray(form.weight))
        np.testing.assert_allclose(np.asarray(values)[row, post], matrix[post, np.asarray(form.pre)[row, post]], atol=tol(1e-5, 1e-12))
        assert (np.asarray(values)[np.asarray(form.weight) == 0] == 0).all()
    assert float(run.state.depression) == pytest.approx(depression, abs=tol(1e-6, 1e-12))
    assert np.abs(want - w).max() > 1e-3  # it does learn


def test_dense_and_lists_learn_the_same():
    found = []
    for form in ("dense", "ell"):
        model = Plastic(LIQUID.replace(form=form), modulator=SlowModulator())
        params = model.init(KEY)
        run = simulate(model, params, EVENTS)
        if form == "dense":
            weights = np.asarray(run.state.recurrent[0])
        else:
            row, post = np.nonzero(np.asarray(params.liquid.recurrent.weight))
            weights = np.zeros((36, 36), np.float32)
            weights[post, np.asarray(params.liquid.recurrent.pre)[row, post]] = np.asarray(run.state.recurrent)[row, post]
        found.append((np.asarray(run.outputs), weights))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


def test_the_modulator_does_not_depend_on_the_step():
    """10 input spikes a ms and a silent liquid: A goes to b - 10 g, whatever dt."""
    for dt in (1.0, 0.5):
        liquid = LSM(n_inputs=10, wiring=Lattice(shape=(2, 2, 2)), input_layer="direct", threshold=1e6, form="ell", dt=dt)
        model = Plastic(liquid, modulator=SlowModulator(tau=20.0, gain=0.01, bias=0.15), potentiation=0.0)
        events = np.zeros((int(300 / dt), 10))
        events[:: int(1 / dt)] = 1.0
        state = simulate(model, model.init(KEY), events, record=None).state
        assert float(state.depression) == pytest.approx(0.05, abs=3e-3)


def test_signs_and_bounds_hold_and_samples_keep_their_own_weights():
    model = Plastic(LIQUID, modulator=SlowModulator(gain=0.2), potentiation=1.0)
    params = model.init(KEY)
    batch = np.stack([EVENTS, EVENTS[::-1]])
    run = simulate(model, params, batch)
    start, last = np.asarray(params.liquid.recurrent.weight), np.asarray(run.state.recurrent)
    assert (last[:, start > 0] >= 0).all()
    assert (last[:, start < 0] <= 0).all()
    assert np.abs(last).max() <= 3.0
    assert (last[0] != last[1]).any()
    alone = simulate(model, params, EVENTS).state
    np.testing.assert_allclose(last[0], alone.recurrent, atol=1e-5)
    again = model.restart(params, alone)
    gated = model.replace(gate=CalciumGate(1.0, 1.5))
    run = simulate(gated, gated.init(KEY), EVENTS)
    np.testing.assert_array_equal(gated.restart(gated.init(KEY), run.state).calcium, run.state.calcium)
    np.testing.assert_array_equal(again.recurrent, alone.recurrent)
    assert float(again.depression) == pytest.approx(0.15)
    assert (np.asarray(again.liquid.v) == 0).all()


BAD = {
    "no liquid": (lambda: Plastic(None).init(KEY), TypeError, r"liquid must be a model .* got NoneType"),
    "scale 0, which leaves no synapse": (lambda: Plastic(LIQUID.replace(weight_scale=0.0)).init(KEY), ValueError, r"liquid.weight_scale must be finite and in \(0.0, inf\], got 0.0"),
    "another form": (lambda: Plastic(LSM(form="edges")).init(KEY), ValueError, r"liquid.form must be one of 'ell', 'dense', got 'edges'"),
    "negative potentiation": (lambda: Plastic(LIQUID, potentiation=-1.0).init(KEY), ValueError, r"potentiation must be finite and in \[0.0, inf\], got -1.0"),
    "fade above 1": (lambda: Plastic(LIQUID, fade=1.5).init(KEY), ValueError, r"fade must be finite and in \(0.0, 1.0\], got 1.5"),
    "modulator without time": (lambda: Plastic(LIQUID, modulator=SlowModulator(tau=0.0)).init(KEY), ValueError, r"modulator.tau must be finite and in \(0.0, inf\], got 0.0"),
    "use above 1": (lambda: ShortTerm(use=1.5).start(3), ValueError, r"use must be finite and in \(0.0, 1.0\], got 1.5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_a_gate_keeps_silent_and_saturated_units_as_they_are():
    """Calcium far below the band: nothing changes; a band of strengthening only: nothing weakens."""
    start = LIQUID.init(KEY)
    size = 2.0 * np.asarray(start.recurrent.weight)
    closed = Plastic(LIQUID, gate=CalciumGate(1e3, 1.0))
    np.testing.assert_array_equal(simulate(closed, closed.init(KEY), EVENTS).state.recurrent, size)
    growing = Plastic(LIQUID, gate=CalciumGate(-0.0, 1e3))
    change = np.asarray(simulate(growing, growing.init(KEY), EVENTS).state.recurrent) - size
    assert (change >= 0).all()
    assert (change > 0).any()


@pytest.mark.parametrize(("knobs", "message"), [
    ({"gate": CalciumGate(width=0.0)}, "gate.width must be"),
    ({"gate": CalciumGate(tau=0.5)}, "gate.tau must be"),
    ({"gate": CalciumGate(threshold=-1.0)}, "gate.threshold must be"),
])
def test_bad_gates_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        Plastic(LIQUID, **knobs).init(KEY)


def test_lists_of_inputs_as_a_matrix():
    """What has been learnt in lists goes into a matrix with the same products."""
    lists = LIQUID.init(KEY).recurrent
    np.testing.assert_array_equal(lists.dense(36).matrix, LIQUID.replace(form="dense").init(KEY).recurrent.matrix)

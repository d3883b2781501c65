"""The liquid: golden values, a plain NumPy loop spike for spike, forms, orders, delays, refusals."""

# ruff: noqa: E501
from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy_lsm
import pytest
from test_esn import _products

from dynlab import phase_map, simulate
from dynlab.models.lattice import Lattice, RandomInput
from dynlab.models.lsm import LSM
from dynlab.models.synapses import Past, from_dense, to_form

KEY = jax.random.key(0)
SMALL = Lattice(shape=(5, 5, 8))  # 200 units


def one_synapse(**options):
    """One source and one liquid unit with weight 1, which never fires."""
    model = LSM(n_inputs=1, wiring=Lattice(shape=(1,), excitatory=1.0), input_wiring=RandomInput(share=1.0),
                input_layer="direct", features="membrane", threshold=1e6, **options)
    params = model.init(KEY)
    return model, params.replace(inputs=params.inputs.replace(matrix=jnp.ones_like(params.inputs.matrix)))


@pytest.mark.conformance
def test_golden_potential_of_one_spike(tol):
    """V after one spike through weight 1, and the charge 1/(1 - 1/e)."""
    model, params = one_synapse()
    x = jnp.zeros((12, 1)).at[0, 0].set(1.0)
    v = np.asarray(simulate(model, params, x).outputs)[:, 0]
    np.testing.assert_allclose(v[:6], [1.0, 1.352254, 1.466461, 1.493334, 1.488317, 1.471800], atol=1e-6)
    free = params.replace(tau=jnp.asarray(1e12, params.tau.dtype))  # no leak: all charge stays
    total = np.asarray(simulate(model, free, jnp.pad(x, ((0, 30), (0, 0)))).outputs)[-1, 0]
    assert total == pytest.approx(1.0 / (1.0 - math.exp(-1.0)), abs=tol(1e-6, 1e-8))  # 2e-9 is left from the first age


@pytest.mark.parametrize(("synapse", "wanted"), [("last_spike", 2.443547), ("exponential", 2.493334)])
def test_two_spikes_tell_the_filters_apart(synapse, wanted):
    model, params = one_synapse(synapse=synapse)
    v = np.asarray(simulate(model, params, jnp.zeros((4, 1)).at[jnp.array([0, 3]), 0].set(1.0)).outputs)[:, 0]
    assert v[3] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("synapse", "kernel"), [
    ("delta", lambda t: np.where(t < 0.05, 10.0, 0.0)),
    ("exponential", lambda t: np.exp(-t / 5.0) / 5.0),
    ("alpha", lambda t: t / 25.0 * np.exp(-t / 5.0)),
    ("double_exponential", lambda t: (np.exp(-t / 5.0) - np.exp(-t / 0.5)) / 4.5),
])
def test_filters_are_their_kernels(synapse, kernel):
    """The potential of a unit without leak is the running sum of the kernel."""
    model, params = one_synapse(synapse=synapse, tau_synapse=5.0, dt=0.1, tau=1e9)
    x = jnp.zeros((300, 1)).at[jnp.array([0, 40]), 0].set(1.0)
    v = np.asarray(simulate(model, params, x).outputs)[:, 0]
    t = 0.1 * np.arange(300)
    want = np.cumsum(0.1 * kernel(t))
    want[40:] += np.cumsum(0.1 * kernel(t))[:-40]
    np.testing.assert_allclose(v, want, atol=2e-4)


@pytest.mark.parametrize(("weight", "least"), [(0.7, 20), (0.9, 15), (1.0, 14), (3.0, 5)])
def test_coincident_spikes_needed_from_rest(weight, least):
    """n sources that spike together, once: the unit fires from that many on."""
    model = LSM(n_inputs=25, wiring=Lattice(shape=(1,), excitatory=1.0), input_wiring=RandomInput(share=1.0),
                input_layer="direct", input_scale=weight)
    params = model.init(KEY)
    params = params.replace(inputs=params.inputs.replace(matrix=jnp.ones_like(params.inputs.matrix)))
    for n in (least - 1, least):
        x = jnp.zeros((15, 25)).at[0, :n].set(1.0)
        assert (np.asarray(simulate(model, params, x).outputs).sum() > 0) == (n == least)


@pytest.fixture(scope="module")
def driven():
    model = LSM(n_inputs=30, wiring=SMALL, input_wiring=RandomInput(share=0.3), weight_scale=2.0, input_scale=3.0)
    events = np.random.default_rng(1).random((1000, 30)) < 0.06
    return model, model.init(KEY), events.astype(float)


def all_spikes(params, state, x):
    return state.spikes


@pytest.mark.conformance
def test_spikes_equal_a_numpy_loop(driven, x64):
    """1,000 ms, 200 units, exactly in float64; in float32 as long as no potential is within rounding of the threshold."""
    model, params, events = driven
    got = np.asarray(simulate(model, params, events, record=all_spikes).outputs)
    w, w_in = 2.0 * np.asarray(params.recurrent.matrix[0], float), 3.0 * np.asarray(params.inputs.matrix[0], float)
    want = numpy_lsm.run(w, w_in, events)
    assert want[:, :200].mean() > 0.01  # it does spike
    n = len(events) if x64 else 100
    np.testing.assert_array_equal(got[:n], want[:n])
    assert abs(got[:, :200].mean() / want[:, :200].mean() - 1) < 0.05


def test_forms_give_the_same_spikes(driven):
    """Weights of 1 and the delta filter: every sum is exact, so dense, lists of inputs and edges agree exactly."""
    model, _, events = driven
    found = []
    for form in ("dense", "ell", "edges"):
        for delays in (None, (3, 1, 0, 7)):
            one = model.replace(form=form, synapse="delta", wiring=Lattice(shape=(5, 5, 8), delays=delays),
                                weight_scale=1.0, input_scale=4.0)
            found.append(np.asarray(simulate(one, one.init(KEY), events[:300], record=all_spikes).outputs))
    assert found[0][:, :200].sum() > 100
    for other in (2, 4):
        np.testing.assert_array_equal(found[0], found[other])
        np.testing.assert_array_equal(found[1], found[other + 1])
    assert (found[0] != found[1]).any()  # the delays matter


@pytest.mark.parametrize("layer", ["lif", "direct"])
def test_compressed_rows_give_the_same_spikes_alone_in_a_batch_and_in_a_sweep(driven, layer):
    """As above, for the form that takes a batch as one sparse product."""
    model, _, events = driven
    batch = jnp.asarray(np.stack([events[:100], events[100:200], events[200:300]]))
    scales, found = jnp.array([1.0, 2.0]), {}
    for form in ("dense", "csr"):
        one = model.replace(form=form, synapse="delta", input_scale=4.0, input_layer=layer)
        params = one.init(KEY)
        run = jax.vmap(lambda scale: simulate(one, params.replace(weight_scale=scale), batch).outputs)  # noqa: B023
        found[form] = [np.asarray(simulate(one, params, batch[0]).outputs),
                       np.asarray(simulate(one, params, batch).outputs), np.asarray(run(scales))]
    for dense, rows in zip(found["dense"], found["csr"], strict=True):
        assert dense.sum() > 50
        np.testing.assert_array_equal(rows, dense)
    np.testing.assert_array_equal(found["csr"][1][0], found["csr"][0])


def test_compressed_rows_with_weights_of_their_own_for_every_sample():
    """A batch of weights: each row of the result is its own product."""
    listed = to_form(from_dense(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, -3.0]])), "csr")
    weights, y = jnp.array([[2.0, 1.0, -3.0], [4.0, 5.0, 6.0]]), jnp.array([1.0, 10.0, 100.0])
    got = jax.vmap(lambda w: listed.replace(weight=w).apply(Past(y)))(weights)
    np.testing.assert_array_equal(got, [[20.0, -299.0], [40.0, 605.0]])


@pytest.mark.conformance
def test_delays_equal_a_numpy_loop(x64, driven):
    model, _, events = driven
    late = model.replace(wiring=Lattice(shape=(5, 5, 8), delays=(3, 1, 0, 7)), form="ell")
    params = late.init(KEY)
    dense = late.replace(form="dense").init(KEY)
    w, w_in = 2.0 * np.asarray(dense.recurrent.matrix.sum(0), float), 3.0 * np.asarray(dense.inputs.matrix[0], float)
    n = 400 if x64 else 60
    want = numpy_lsm.run(w, w_in, events[:n], delay=np.asarray(late.wiring.delay()))
    got = np.asarray(simulate(late, params, events[:n], record=all_spikes).outputs)
    assert want[:, :200].sum() > 0
    np.testing.assert_array_equal(got, want)


def test_next_step_numbers_the_same_spikes_one_earlier(driven):
    model, params, events = driven
    same = np.asarray(simulate(model, params, events[:200], record=all_spikes).outputs)
    after = np.asarray(simulate(model.replace(order="next_step"), params, events[:200], record=all_spikes).outputs)
    assert same[:, :200].sum() > 0
    np.testing.assert_array_equal(same[1:], after[:-1])


@pytest.mark.parametrize("synapse", ["delta", "last_spike", "exponential"])
def test_next_step_does_so_with_direct_inputs(synapse):
    """Input spikes enter the filters on top of those of the liquid, which still wait there."""
    model = LSM(n_inputs=10, wiring=Lattice(shape=(4, 4, 4)), input_wiring=RandomInput(share=0.5), weight_scale=4.0,
                input_scale=9.0, input_layer="direct", synapse=synapse)
    events, params = np.random.default_rng(2).random((100, 10)) < 0.2, model.init(KEY)
    same, after = (np.asarray(simulate(model.replace(order=order), params, events).outputs)
                   for order in ("same_step", "next_step"))
    alone = model.replace(weight_scale=0.0)
    assert (np.asarray(simulate(alone, alone.init(KEY), events).outputs) != same).any()  # the recurrence matters
    np.testing.assert_array_equal(same[1:], after[:-1])


def test_two_input_spikes_in_a_step_restart_the_last_spike_filter_as_one():
    model = LSM(n_inputs=3, wiring=Lattice(shape=(2, 2, 2)), input_wiring=RandomInput(share=0.5), input_layer="direct")
    params, events = model.init(KEY), np.zeros((10, 3))
    events[2] = 1.0
    run = jax.jit(lambda events: simulate(model, params, events, record=None).state.v)  # inside, values are unknown
    one, two = (run(factor * events) for factor in (1.0, 2.0))
    np.testing.assert_array_equal(one, two)


def test_interval_of_a_constant_current():
    """tau 20, threshold 10, 12 as steady potential, refractory 2 ms at reset: 2 + 20 ln 6 ms between spikes."""
    model = LSM(n_inputs=1, wiring=Lattice(shape=(1,)), input_wiring=RandomInput(share=1.0), decay="exact", dt=0.01,
                tau=20.0, threshold=10.0, bias=12.0, refractory=2.0, refractory_hold="clamp", order="next_step",
                input_scale=0.0)
    times = 0.01 * np.flatnonzero(np.asarray(simulate(model, model.init(KEY), jnp.zeros((12_000, 1))).outputs)[:, 0])
    assert len(times) == 3
    np.testing.assert_allclose(np.diff(times), 2.0 + 20.0 * math.log(6.0), atol=0.03)


@pytest.mark.parametrize("refractory", [0.0, 2.0, 5.0])
def test_shortest_interval_is_the_refractory_time_and_a_step(refractory):
    model = LSM(n_inputs=1, wiring=Lattice(shape=(1,)), bias=1e4, refractory=refractory)
    for order in ("same_step", "next_step"):
        spikes = np.asarray(simulate(model.replace(order=order), model.init(KEY), jnp.zeros((40, 1))).outputs)[:, 0]
        assert set(np.diff(np.flatnonzero(spikes))) == {int(refractory) + 1}


def test_adaptive_threshold_slows_a_unit():
    model = LSM(n_inputs=1, wiring=Lattice(shape=(1,)), bias=60.0, increment=5.0, tau_threshold=200.0)
    times = np.flatnonzero(np.asarray(simulate(model, model.init(KEY), jnp.zeros((400, 1))).outputs)[:, 0])
    gaps = np.diff(times)
    assert gaps[-1] > 1.5 * gaps[0]


def test_a_sweep_of_weights_is_one_matrix_product():
    """vmap over the scales at one key: (N, N) x (N, B) and (N, D) x (D, B), nothing batched."""
    model = LSM(n_inputs=6, wiring=Lattice(shape=(3, 3, 3)))
    x = jnp.zeros((5, 6))

    def sweep(scale):
        one = model.replace(weight_scale=scale, input_scale=scale)
        return simulate(one, one.init(KEY), x).outputs

    products = _products(jax.make_jaxpr(jax.vmap(sweep))(jnp.linspace(0.4, 1.2, 4)).jaxpr, [])
    assert sorted(sorted(shapes) for shapes in products) == sorted([sorted([(27, 27), (4, 27)]), sorted([(27, 6), (4, 6)])])


def test_surrogate_gradient_reaches_the_weights(driven):
    model, _, events = driven
    wanted = model.replace(surrogate="atan", features="filtered")
    params = wanted.init(KEY)

    def loss(scale):
        return jnp.mean(simulate(wanted, params.replace(weight_scale=scale), events[:50]).outputs)

    assert np.isfinite(jax.grad(loss)(2.0))
    assert jax.grad(loss)(2.0) != 0
    plain = model.replace(features="filtered")
    assert jax.grad(lambda s: jnp.mean(simulate(plain, params.replace(weight_scale=s), events[:50]).outputs))(2.0) == 0


def test_smooth_analyses_refuse_and_name_the_alternative(driven):
    model, params, _ = driven
    with pytest.raises(TypeError, match="two_trajectory_exponent"):
        phase_map(model, params)  # what fixed_points, lyapunov and modes start from


BAD = {
    "tau below dt": (lambda: LSM(tau=0.5).init(KEY), ValueError, r"tau must be at least dt = 1.0, got 0.5: lower dt"),
    "delays that are no steps": (lambda: LSM(wiring=Lattice(delays=(1, 1.5, 0, 0))).init(KEY), TypeError, r"delays must be an integer, got 1.5"),
    "slope without surrogate": (lambda: LSM(surrogate_slope=2.0).init(KEY), ValueError, r"surrogate_slope must be None without a surrogate, got 2.0"),
    "negative slope": (lambda: LSM(surrogate="atan", surrogate_slope=-1.0).init(KEY), ValueError, r"surrogate_slope must be finite and in \(0.0, inf\], got -1.0"),
    "negative delays": (lambda: LSM(wiring=Lattice(delays=(1, -1, 0, 0))).init(KEY), ValueError, r"delays must be finite and in \[0.0, inf\], got \(1, -1, 0, 0\)"),
    "negative weight scale": (lambda: LSM(weight_scale=-1.0).init(KEY), ValueError, r"weight_scale must be finite and in \[0.0, inf\], got -1.0"),
    "negative size of inhibition": (lambda: LSM(wiring=Lattice(sizes=(1, 1, -1, 1))).init(KEY), ValueError, r"sizes must be finite and in \[0.0, inf\]"),
    "threshold at reset": (lambda: LSM(threshold=0.0).init(KEY), ValueError, r"threshold must be above reset = 0.0, got 0.0"),
    "half an adaptive threshold": (lambda: LSM(increment=1.0).init(KEY), ValueError, r"increment and tau_threshold must be given together"),
    "unknown synapse": (lambda: LSM(synapse="gamma").init(KEY), ValueError, r"synapse must be one of 'delta', .* got 'gamma'"),
    "unknown order": (lambda: LSM(order="before").init(KEY), ValueError, r"order must be one of 'same_step', 'next_step', got 'before'"),
    "edges in a trace": (lambda: jax.vmap(lambda k: LSM(form="edges").init(k))(jax.random.split(KEY, 2)), ValueError, r"form must be 'dense' where the key is traced"),
    "compressed rows with delays": (lambda: LSM(form="csr", wiring=Lattice(delays=(1, 0, 0, 0))).init(KEY), ValueError, r"wiring.delays must be None with form='csr', got \(1, 0, 0, 0\)"),
    "compressed rows with a surrogate": (lambda: LSM(form="csr", surrogate="atan").init(KEY), ValueError, r"surrogate must be None with form='csr', got 'atan'"),
    "empty batch": (lambda: simulate(LSM(n_inputs=2, wiring=SMALL), LSM(n_inputs=2, wiring=SMALL).init(KEY), np.zeros((0, 5, 2))), ValueError, r"inputs must not be empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_direct_inputs_are_spikes(key):
    """Inputs through units of their own may be any current."""
    model = LSM(n_inputs=3, wiring=Lattice(shape=(2, 2, 2)), input_wiring=RandomInput(share=0.5), input_layer="direct")
    inputs = np.zeros((5, 3))
    inputs[2, 1] = 2.0
    with pytest.raises(ValueError, match=r"inputs must be 0 or 1 .*got 2"):
        simulate(model, model.init(key), inputs)
    currents = model.replace(input_layer="lif")
    assert simulate(currents, currents.init(key), inputs).outputs.shape == (5, 8)

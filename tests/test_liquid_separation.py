"""The classic liquid as a preset, distances of spike trains by integration, and the sweep against single runs."""

# ruff: noqa: E501
from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import maass135, simulate, state_rank
from dynlab.models.lattice import expected_synapse_count
from dynlab.models.maass import AT_20_HZ, USE, ClassicInput
from dynlab.plasticity import ShortTerm
from experiments import _separation, liquid_separation

KEY = jax.random.key(0)
PLASTICITY = {"EE": (0.5, 1100.0, 50.0), "EI": (0.05, 125.0, 1200.0), "IE": (0.25, 700.0, 20.0), "II": (0.32, 144.0, 60.0)}


@pytest.mark.parametrize("pair", PLASTICITY)
def test_efficacies_are_those_of_short_term_plasticity(pair):
    """The preset's constants from the model that they stand for: ten spikes 50 ms apart."""
    synapse = ShortTerm(*PLASTICITY[pair])
    state, seen = synapse.start(1), []
    for step in range(451):
        state, efficacy = synapse.step(state, jnp.full(1, float(step % 50 == 0)))
        if step % 50 == 0:
            seen.append(float(efficacy[0]))
    assert len(seen) == 10
    assert seen[0] == pytest.approx(USE[pair])
    assert seen[-1] == pytest.approx(AT_20_HZ[pair], abs=1e-4)


def test_wiring_of_the_classic_liquid():
    model = maass135(2, dt=0.1)
    assert (model.n_units, model.wiring.n_excitatory, model.wiring.delays) == (135, 108, (15, 8, 8, 8))
    counts = [int((np.asarray(maass135(2).init(jax.random.key(i)).recurrent.matrix) != 0).sum()) for i in range(12)]
    expected = expected_synapse_count(model.wiring)["total"]
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.std(counts) / np.sqrt(12))
    params = model.init(KEY)
    by_delay = np.asarray(params.recurrent.matrix)
    assert np.flatnonzero(np.abs(by_delay).sum((1, 2))).tolist() == [8, 15]
    assert (by_delay[15][108:] == 0).all()  # 1.5 ms is between excitatory units only
    assert (by_delay[15][:, 108:] == 0).all()
    assert (by_delay[8][:, :108] >= 0).all()
    assert (by_delay[8][:, 108:] <= 0).all()
    np.testing.assert_allclose(np.unique(by_delay[15]), [0.0, 30 * 0.0433 * 3 / 30], rtol=1e-6)
    np.testing.assert_allclose(by_delay[8].min(), -19 * 0.2170 * 6 / 30, rtol=1e-6)
    inputs = np.asarray(ClassicInput(n_excitatory=108).matrix(KEY, 200, 135))
    assert (inputs > 0).mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / inputs.size))
    np.testing.assert_allclose(np.unique(inputs[:108]), [0.0, 1.8], rtol=1e-6)
    np.testing.assert_allclose(np.unique(inputs[108:]), [0.0, 0.9], rtol=1e-6)


def test_one_input_spike_moves_the_membrane_as_its_current_does():
    """18 nA that decays with 3 ms, over 1 MOhm and 30 ms, integrated in steps of 1 us: 13.5 + 1.39 mV at its peak."""
    model = maass135(1, dt=0.05, threshold=100.0)
    params = model.init(KEY).replace(weight_scale=jnp.zeros(()))
    x = jnp.zeros((800, 1)).at[0].set(1.0)
    v = np.asarray(simulate(model, params, x, record=_separation.both).outputs[2])
    hit = np.asarray(params.inputs.matrix[0, :, 0]) > 0
    t = np.arange(40_000) * 1e-3
    force, potential, trace = 18.0 * np.exp(-t / 3.0), 0.0, []
    for current in force:
        potential += 1e-3 / 30.0 * (current - potential)
        trace.append(potential)
    got = v[:, :108][:, hit[:108]] - 13.5
    assert np.ptp(got, axis=1).max() < 1e-5
    np.testing.assert_allclose(got[:, 0].max(), max(trace), rtol=0.02)
    np.testing.assert_allclose(got[-1, 0], trace[-1], rtol=0.02)
    np.testing.assert_allclose(v[:, ~hit], 13.5, rtol=1e-6)


def test_distance_of_trains_by_integration():
    dt, rng = 0.5, np.random.default_rng(1)
    a, b = rng.random((2, 200)) < 0.05
    grid = np.arange(-40.0, 140.0, 0.01)
    f = sum(np.exp(-(((grid - dt * i) / 5.0) ** 2)) for i in np.flatnonzero(a))
    g = sum(np.exp(-(((grid - dt * i) / 5.0) ** 2)) for i in np.flatnonzero(b))
    want = np.sqrt(np.sum((f - g) ** 2) * 0.01e-3)
    assert _separation.train_distance(a.astype(float) - b, dt) == pytest.approx(want, rel=1e-6)
    single = np.zeros(50)
    single[20] = 1.0
    assert _separation.train_distance(single, dt) == pytest.approx(np.sqrt(5e-3 * np.sqrt(np.pi / 2)))


def test_pairs_are_poisson_at_the_wanted_distance():
    distances = (0.4, 0.2, 0.1, 0.0)
    trains = _separation.pairs(np.random.default_rng(0), distances, 60, 1000, 0.5, 20.0)
    assert trains.shape == (4, 60, 2, 1000)
    apart = _separation.train_distance(trains[:, :, 0] - trains[:, :, 1], 0.5)
    assert np.abs(apart - np.array(distances)[:, None]).max() <= 0.02
    np.testing.assert_array_equal(apart[3], 0.0)
    rate = trains[2:].mean((1, 2, 3)) * 2000.0  # near pairs: both members keep the law
    np.testing.assert_allclose(rate, 20.0, atol=4 * 20.0 / np.sqrt(10 * 60))
    with pytest.raises(ValueError, match=r"distances must occur between trains of 20 Hz and 100 ms, got \[2.0\]"):
        _separation.pairs(np.random.default_rng(0), (2.0, 0.0), 5, 200, 0.5, 20.0, tries=2)


def test_jittered_copies():
    train = np.zeros(400)
    train[[0, 100, 300]] = 1.0
    copies = _separation.jittered(np.random.default_rng(0), train, 500, 6.0)
    assert copies.max() == 1.0
    first = np.array([np.flatnonzero(row)[np.abs(np.flatnonzero(row) - 100).argmin()] for row in copies])
    assert first.mean() == pytest.approx(100.0, abs=4 * 6.0 / np.sqrt(500))
    assert first.std() == pytest.approx(6.0, rel=0.15)
    np.testing.assert_array_equal(_separation.jittered(np.random.default_rng(0), train, 3, 0.0), np.tile(train, (3, 1)))


def test_sweep_is_the_runs_one_by_one(count_compilations):
    rng = np.random.default_rng(0)
    model = maass135(1)
    params = model.init(KEY)
    trains = _separation.pairs(rng, (0.2, 0.0), 3, 300, 0.5, 20.0, tolerance=0.05)
    streams = (rng.random((6, 300)) < 0.01).astype(np.float32)
    long = (rng.random(600) < 0.01).astype(np.float32)
    call = lambda scales, key: _separation.sweep(model, params, jnp.asarray(scales), trains, streams, streams[:1].repeat(6, 0), long, key, sizes=(0.1,), threshold=0.01)  # noqa: E731
    found = call([0.0, 4.0], KEY)
    for at, scale in enumerate((0.0, 4.0)):
        member = params.replace(weight_scale=jnp.asarray(scale))
        ends = np.asarray(simulate(model, member, streams[..., None]).outputs)[:, -1]
        assert int(found["kernel_rank"][at]) == int(state_rank(ends, 0.01).rank)
        assert int(found["generalisation_rank"][at]) == (1 if ends[0].any() else 0)
        spikes = np.asarray(simulate(model.replace(features="spikes"), member, long[:, None]).outputs)
        assert float(found["rate"][at]) == pytest.approx(2000.0 * spikes.mean(), rel=1e-5)
    assert found["state_distance"].shape == (2, 2, 300)
    assert np.isfinite(found["state_distance"]).all()
    with count_compilations() as count:
        call([1.0, 2.0], jax.random.key(1))
    assert count.compilations == 0


def test_states_come_together_without_recurrence():
    """Equal inputs, other initial membranes: leaky units alone forget them; a liquid run away to 100 Hz does not."""
    result = liquid_separation.run(dataclasses.replace(liquid_separation.Config.smoke(), scales=(0.0, 16.0)), KEY)
    apart = np.asarray(result.data["state_distance"].values)[0]
    assert apart[0, -1, -20:].mean() < 0.1 * apart[0, 0, -20:].mean()
    assert apart[1, -1, -20:].mean() > 10 * apart[0, -1, -20:].mean()
    assert [claim.claim for claim in result.claims] == ["least kernel rank less generalisation rank, all liquids and weights"]


@pytest.mark.parametrize(("change", "message"), [
    ({"efficacy": "10 Hz"}, "efficacy must be one of 'rested', '20 Hz'"),
    ({"distances": (0.1, 0.2)}, r"distances must be at least two, descending, got \(0.1, 0.2\)"),
    ({"scales": (-1.0,)}, "scales must be finite and in"),
    ({"sizes": ()}, "sizes must hold at least one value"),
    ({"long": 10.0}, "long must be finite and in"),
    ({"threshold": 1e-7}, "threshold must be finite and in"),
])
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        liquid_separation.validate(dataclasses.replace(liquid_separation.Config.smoke(), **change))


def test_bad_presets_are_refused():
    with pytest.raises(ValueError, match="efficacy must be one of 'rested', '20 Hz', got 'tired'"):
        maass135(efficacy="tired")
    with pytest.raises(ValueError, match=r"dt must be finite and in \(0.0, inf\], got 0.0"):
        maass135(dt=0.0)
    with pytest.raises(TypeError, match="radius"):
        maass135(radius=1.0)

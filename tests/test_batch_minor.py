"""Models whose batches lie side by side in memory: the same numbers as one run at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import LSM, Lattice, RandomInput, simulate

KEY = jax.random.key(0)
MODEL = LSM(n_inputs=6, wiring=Lattice(shape=(3, 3, 3)), input_wiring=RandomInput(share=0.5), input_scale=20.0,
            weight_scale=3.0, synapse="exponential", features="membrane", noise=0.5)


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("record", ["features", "state", None, lambda params, state, x: (state.spikes, x.sum())])
@pytest.mark.parametrize(("form", "layer"), [("csr", "lif"), ("csr", "direct"), ("edges", "lif")])
def test_a_batch_equals_its_samples(form, layer, record):
    """With noise, washout, and going on from a state: outputs, their axes and the last state."""
    model = MODEL.replace(form=form, input_layer=layer)
    assert model.batch_minor
    params = model.init(KEY)
    xs = jax.random.bernoulli(KEY, 0.3, (3, 30, 6)).astype(jnp.float32)
    first = simulate(model, params, xs[:, :10], key=KEY, washout=4, record=record)
    then = simulate(model, params, xs[:, 10:], key=KEY, state=first.state, t0=first.t, record=record)
    assert first.state.spikes.shape[0] == 3
    if record == "features":
        assert first.outputs.shape == (3, 6, 27)
        assert float(jnp.std(then.outputs)) > 0.1
    for b in range(3):
        own = jax.random.fold_in(KEY, b)
        alone = simulate(model, params, xs[b, :10], key=own, washout=4, record=record)
        later = simulate(model, params, xs[b, 10:], key=own, state=alone.state, t0=alone.t, record=record)
        for batch, single in ((first, alone), (then, later)):
            close(jax.tree.map(lambda leaf, b=b: leaf[b], (batch.outputs, batch.state)), (single.outputs, single.state))


def test_the_layout_is_another_and_the_numbers_are_not(monkeypatch):
    """The compiled loop holds a unit's values side by side; a sweep over a knob, and one step, work too."""
    model = MODEL.replace(form="csr", noise=None)
    params = model.init(KEY)
    xs = jax.random.bernoulli(KEY, 0.3, (5, 20, 6)).astype(jnp.float32)
    program = lambda p, xs: simulate(model, p, xs).outputs  # noqa: E731
    sweep = lambda scales: jax.vmap(lambda s: program(params.replace(weight_scale=s), xs))(scales)  # noqa: E731
    scales, laid = jnp.array([1.0, 3.0]), "f32[5,33]{0,1}"  # 27 + 6 units
    text = jax.jit(program).lower(params, xs).compile().as_text()
    side_by_side = program(params, xs), sweep(scales), program(params, xs[:, :1])
    assert laid in text
    monkeypatch.setattr(LSM, "batch_minor", False)
    jax.clear_caches()
    assert laid not in jax.jit(lambda p, xs: program(p, xs)).lower(params, xs).compile().as_text()
    apart = program(params, xs), sweep(scales), program(params, xs[:, :1])
    close(side_by_side, apart)
    assert float(jnp.max(jnp.abs(side_by_side[1][0] - side_by_side[1][1]))) > 0.1
    jax.clear_caches()

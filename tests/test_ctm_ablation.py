"""Continuous Thought Machines with a part left out."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from dynlab import CTM, think


def test_without_private_networks_or_synchronization(key):
    """What is left out leaves its formula: z is the pre-activation, the features and the query are z."""
    small = CTM(n_inputs=2, n_tokens=3, n_units=6, n_attention=4, n_heads=2, n_history=1, n_hidden=None, n_out=2,
                n_action=2, n_outputs=(3,))
    tokens = jax.random.normal(key, (3, 2))
    plain = small.replace(private=False)
    params = plain.init(key)
    assert params.neurons is None
    state, _ = plain.tick(params, plain.init_state(params), plain.encode(params, tokens))
    np.testing.assert_array_equal(state.active, state.history[:, -1])
    direct = small.replace(synchrony=False, n_out=0, n_action=0)
    params = direct.init(key)
    assert params.decay_out is params.decay_action is params.out is params.action is None
    assert params.head.weight.shape == (3, 6)
    thought = think(direct, params, tokens, 4, record=("features", "state"))
    np.testing.assert_array_equal(thought.records["features"], thought.records["state"].active)
    moved = dataclasses.replace(params, start_active=params.start_active + 1.0)
    found = [direct.tick(p, direct.init_state(p), direct.encode(p, tokens))[1] for p in (params, moved)]
    assert not np.allclose(*found)  # the attention follows z
    assert direct.project(params).decay_out is None
    for model, name in ((small.replace(private=False, n_history=2), "n_history"),
                        (small.replace(synchrony=False), "n_action"), (direct.replace(n_out=2), "n_out")):
        with pytest.raises(ValueError, match=name):
            model.init(key)


def test_tokens_may_be_constants_of_a_compiled_function(key):
    """A loss that closes over its data is compiled like any other, and what it closes over is still checked."""
    model = CTM(n_inputs=2, n_tokens=3, n_symbols=2, n_units=6, n_attention=4, n_heads=2, n_history=2, n_hidden=None,
                n_out=2, n_action=2, n_outputs=(3,))
    params, tokens, wrong = model.init(key), jax.numpy.array([0, 1, 1]), jax.numpy.array([0, 1, 2])
    logits = jax.jit(lambda params: think(model, params, tokens, 2).logits)(params)
    np.testing.assert_allclose(logits, think(model, params, tokens, 2).logits, atol=1e-6)
    with pytest.raises(ValueError, match=r"tokens must be in \[0, 1\], got 2"):
        jax.jit(lambda params: think(model, params, wrong, 2).logits)(params)

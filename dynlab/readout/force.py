"""FORCE learning: a readout that is fed back is trained by RLS while the loop is closed.

Sussillo, Abbott 2009, Neuron 63:544, DOI 10.1016/j.neuron.2009.07.018. After each step of the network

    z = phi' w,   e = z - f,   k = P phi / (1 + phi'P phi),   P <- P - k phi'P,   w <- w - k e

with P(0) = I / alpha, so that the error is small from the first second on and the network stays near the target
while it learns; z, not f, drives the network.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import numbered
from dynlab.protocol import Map
from dynlab.readout.linear import Linear
from dynlab.readout.online import RLS, check_rls, rls_init, rls_step
from dynlab.simulation import check_noise, check_state

Array = jax.Array


@tree.dataclass
class Force:
    """What FORCE training returns.

    Attributes:
        readout: :class:`Linear` (F, D), intercept 0: ``generate(model, params, readout, n, state=state)`` runs free.
            Its ``outputs[0]`` belongs to `state`, the last trained step T-1 (it repeats z(T-1), up to the last change
            of the weights), so that ``outputs[1:]`` continues the target.
        outputs: (time, D): z(t), as fed back.
        state: the network's last state.
        learner: the RLS state, to train on from.
        weight_change: (time,) norm of dw at each step, 0 where nothing was learned: it fades when training succeeds.
    """

    readout: Any
    outputs: Any
    state: Any
    learner: Any
    weight_change: Any


@partial(jax.jit, static_argnames="update_every")
def _force(
    model: Map, params: Any, targets: Array, key: Array | None, state: Any, learner: RLS, learning: Array, t0: Array, *,
    update_every: int,
) -> Force:
    def body(carry: tuple[Any, RLS], now: tuple[Array, Array, Array]) -> tuple[tuple[Any, RLS], tuple[Array, Array]]:
        state, learner = carry
        t, target, on = now
        phi = model.observe(params, state)
        x = jnp.matmul(phi, learner.weights, precision="highest")
        state = model.step(params, state, x, numbered(key, t))
        phi = model.observe(params, state)
        z = jnp.matmul(phi, learner.weights, precision="highest")
        due = on & (t % update_every == 0)
        new = jax.lax.cond(due, lambda old: rls_step(old, phi, target), lambda old: old, learner)
        return (state, new), (z, jnp.linalg.norm(new.weights - learner.weights))

    times = t0 + jnp.arange(targets.shape[0], dtype=jnp.int32)
    (state, learner), (outputs, change) = jax.lax.scan(body, (state, learner), (times, targets, learning))
    readout = Linear(learner.weights, jnp.zeros(targets.shape[1], targets.dtype))
    return Force(readout, outputs, state, learner, change)


def force(
    model: Map, params: Any, targets: Any, *, key: Array | None = None, alpha: Any = 1.0, update_every: int = 2,
    learn_from: int = 0, learn_until: int | None = None, state: Any = None, learner: RLS | None = None,
    t0: int | Array = 0,
) -> Force:
    """Train the fed-back readout of a model by FORCE, in one compiled scan. Several seeds: ``vmap``.

    Args:
        model: a :class:`~dynlab.protocol.Map` whose step takes the fed-back output z, shape (D,), as its input x. At
            each step x is z of the state before, with the present weights, as in ``generate``.
        targets: (time, D), f(t): what the output after step t should be.
        key: noise of the model: step t uses ``fold_in(key, t)``; needed when ``params.noise`` is above 0.
        alpha: P(0) = I / alpha; 1 to 100, well below the number of features (learning rate 1 / alpha at first).
        update_every: learn at steps t with t % update_every == 0.
        learn_from, learn_until: learn only at indices of `targets` in [learn_from, learn_until): a schedule of
            spontaneous activity, training and free run in one call.
        state: start; None takes ``model.init_state(params, key)``.
        learner: RLS state to go on from, or with other first weights (``rls_init``).
        t0: time index of the first step, for noise and `update_every`.

    Returns:
        :class:`Force`.

    Raises:
        ValueError, TypeError: noise without a key; targets of another width than the model's input; a model that
            takes an external input beside the feedback; a `state` or `learner` of other shapes.
    """
    y = check.series("targets", targets, batched=False)
    check.scalar("alpha", alpha, 0.0, low_open=True)
    check.integer("update_every", update_every, 1)
    n_steps = y.shape[0]
    check.integer("learn_from", learn_from, 0, n_steps)
    last = n_steps if learn_until is None else check.integer("learn_until", learn_until, learn_from, n_steps)
    check_noise(params, key)
    sizes = getattr(model, "input_sizes", None)
    if isinstance(sizes, tuple):
        raise ValueError(
            f"model must take the fed-back output as its only input for force, got input sizes {sizes} (external, "
            "feedback): build it with n_inputs = number of targets and n_feedback = 0"
        )
    if sizes is not None and sizes != y.shape[1]:
        raise ValueError(f"targets must have {sizes} features, the width of the model's input, got {y.shape[1]}")
    if state is None:
        state = model.init_state(params, numbered(key, 2**32 - 1))
    else:
        state = check_state(model, params, state)
    n_features = jax.eval_shape(model.observe, params, state).shape[-1]
    if learner is None:
        learner = rls_init(n_features, y.shape[1], alpha)
    check_rls("learner", learner, n_features, y.shape[1])
    steps = jnp.arange(n_steps)
    learning = (steps >= learn_from) & (steps < last)
    return _force(
        model, params, y, key, state, learner, learning, jnp.asarray(t0, jnp.int32), update_every=update_every
    )

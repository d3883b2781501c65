"""Networks with a linear readout: what the experiments that train share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, train, tree
from dynlab.keys import named
from dynlab.readout.linear import Linear
from experiments.contract import Progress

Array = jax.Array


@tree.dataclass
class Network:
    """Parameters of a recurrent network and of its linear readout."""

    rnn: Any
    readout: Linear


def draw_network(model: Any, n_outputs: int, key: Array) -> Network:
    """Initial parameters; the readout as PyTorch's ``nn.Linear``, uniform on +-1/sqrt(N)."""
    bound = float(model.n_units) ** -0.5
    weights, intercept = (
        jax.random.uniform(named(key, role), shape, check.default_float(), -bound, bound)
        for role, shape in (("readout", (model.n_units, n_outputs)), ("intercept", (n_outputs,)))
    )
    return Network(model.init(named(key, "rnn")), Linear(weights, intercept))


def run_network(model: Any, network: Network, inputs: Array, key: Array | None = None) -> tuple[Array, Array]:
    """Features (B, T, N) and outputs (B, T, C) of trials that start at rest; a key drives the noise."""
    rest = model.init_state(network.rnn)
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (inputs.shape[0], *leaf.shape)), rest)
    rows = train.all_states(model, network.rnn, states, inputs, key=key)
    features = jax.vmap(jax.vmap(partial(model.observe, network.rnn)))(rows)
    return features, network.readout(features)


def falling_adam(learning_rate: float, last: float, n_updates: int, clip: float) -> Any:
    """Adam with a rate that falls exponentially from one value to another over all updates, gradients clipped."""
    import optax

    rate = optax.exponential_decay(learning_rate, n_updates, last / learning_rate)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate))


def check_training(config: Any) -> None:
    """Refuse values of the fields that both experiments have."""
    for name in ("n_units", "n_epochs", "n_updates", "batch", "n_tests", "n_starts"):
        check.integer(name, getattr(config, name), 1)
    for name in ("learning_rate", "last_learning_rate", "clip"):
        check.number(name, getattr(config, name), 0.0, low_open=True)
    check.number("noise_of_starts", config.noise_of_starts, 0.0)
    check.number("mixed", config.mixed, 0.0, 1.0)


def epochs_bar(progress: Progress, name: str) -> Any:
    """`progress` as :func:`dynlab.train.fit` calls it."""
    return lambda epochs, _: progress(list(epochs), name)


def checkpoint_in(folder: Path | None, name: str, identity: Any) -> train.Checkpoint | None:
    """A checkpoint of its own for each part of a run; None without a folder."""
    return None if folder is None else train.Checkpoint(folder / name, identity=identity)

"""Digits read by a thought machine behind a backbone: the network, its data, loss, test and training."""

from __future__ import annotations

import functools
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import CTM, check, data, think, train, tree
from dynlab.keys import named
from dynlab.models.backbone import Backbone, Moments
from dynlab.models.thinking import Thought
from experiments._thoughts import LIMITS, fresh, identity

Array = jax.Array
DATASETS = ("mnist", "fashion_mnist", "noise")
OTHERS = ("n_networks",)  # no part of a training


@tree.dataclass
class Network:
    """Parameters of a :class:`DigitMachine`."""

    backbone: Any
    machine: Any


@tree.dataclass
class DigitMachine:
    """A thought machine behind a backbone."""

    backbone: Backbone
    machine: CTM

    def init(self, key: Array) -> Network:
        """Draw both."""
        return Network(self.backbone.init(named(key, "backbone")), self.machine.init(named(key, "machine")))

    def think(
        self, params: Network, images: Array, n_ticks: int, moments: tuple[Moments, ...] | None = None,
        record: tuple[str, ...] = (),
    ) -> Thought:
        """All ticks about a batch of images; without moments, by those of the batch."""
        tokens = self.backbone.tokens(params.backbone, images, moments)
        return think(self.machine, params.machine, tokens, n_ticks, record=record)


def model_of(config: Any) -> DigitMachine:
    """Backbone and thought machine of the tutorial."""
    backbone = Backbone(widths=(config.n_attention, config.n_attention))
    machine = CTM(n_inputs=backbone.n_features, n_tokens=backbone.n_tokens, n_units=config.n_units,
                  n_attention=config.n_attention, n_heads=config.n_heads, n_history=config.n_history,
                  n_hidden=config.n_hidden, n_out=config.n_sync, n_action=config.n_sync, pairing="dense",
                  n_outputs=(10,))
    return DigitMachine(backbone, machine)


@tree.dataclass
class Digits:
    """Images (n, 28, 28, 1) uint8 and labels (n,) int32."""

    images: Array
    labels: Array


def load(config: Any, key: Array) -> tuple[Digits, Digits]:
    """Training images in random order, and test images."""
    rng = np.random.default_rng(int(jax.random.randint(named(key, "order"), (), 0, 2**31 - 1)))
    if config.dataset == "noise":
        drawn = [Digits(jnp.asarray(rng.integers(0, 256, (n, 28, 28, 1)), jnp.uint8),
                        jnp.asarray(rng.integers(0, 10, n), jnp.int32)) for n in (config.n_known, config.n_test)]
        return drawn[0], drawn[1]
    found = data.load(config.dataset)
    for name, have in (("n_known", len(found.train.labels)), ("n_test", len(found.test.labels))):
        check.integer(name, getattr(config, name), 1, have)
    order = rng.permutation(len(found.train.labels))
    make = lambda part, rows: Digits(jnp.asarray(part.values[rows, :, :, None]),  # noqa: E731
                                     jnp.asarray(part.labels[rows]))
    return make(found.train, order), make(found.test, np.arange(config.n_test))


@tree.dataclass
class DigitLoss:
    """The two-tick loss on images drawn anew."""

    model: DigitMachine
    known: Digits
    n_ticks: int = tree.static()
    batch: int = tree.static()

    def __call__(self, params: Network, key: Array) -> tuple[Array, dict[str, Array]]:
        """The loss, and the mean tick that was most certain."""
        rows = jax.random.randint(key, (self.batch,), 0, self.known.labels.shape[0])
        thought = self.model.think(params, self.known.images[rows], self.n_ticks)
        found = train.two_ticks(thought.logits, thought.certainty, self.known.labels[rows])
        return found.loss, {"certain": jnp.mean(found.certain.astype(jnp.float32))}


@partial(jax.jit, static_argnames=("n_ticks",))
def answers(
    model: DigitMachine, params: Network, moments: tuple[Moments, ...], images: Array, *, n_ticks: int
) -> tuple[Array, Array]:
    """Logits (n, T, 10) and certainties (n, T), some images at a time."""

    def one(image: Array) -> tuple[Array, Array]:
        thought = model.think(params, image[None], n_ticks, moments)
        return thought.logits[0], thought.certainty[0]

    return jax.lax.map(one, images, batch_size=250)


@tree.dataclass
class DigitTest:
    """Accuracy on the test images at the most certain tick, and by tick."""

    model: DigitMachine
    known: Array  # images for the moments
    test: Digits
    n_ticks: int = tree.static()

    def __call__(self, params: Network, key: Array) -> dict[str, Array]:
        """accuracy, by_tick (T,)."""
        moments = self.model.backbone.moments(params.backbone, self.known)
        logits, certainty = answers(self.model, params, moments, self.test.images, n_ticks=self.n_ticks)
        right = jnp.argmax(logits, axis=-1) == self.test.labels[:, None]
        chosen = jnp.take_along_axis(right, jnp.argmax(certainty, axis=1)[:, None], axis=1)
        return {"accuracy": jnp.mean(chosen), "by_tick": jnp.mean(right, axis=0)}


@functools.cache  # a new one would compile again
def optimiser_of(learning_rate: float, weight_decay: float) -> Any:
    """AdamW at one rate."""
    import optax

    return optax.adamw(learning_rate, weight_decay=weight_decay)


def train_network(config: Any, loss: DigitLoss, test: DigitTest, key: Array, folder: Path | None) -> train.Fit:
    """Train one network; with a folder, go on from what it holds. The tutorial's private networks have no scale."""
    params = fresh(loss.model, named(key, "network"))
    limits: dict[str, Any] = {f"machine.{name}": rule for name, rule in LIMITS.items()}
    limits |= {f"machine.neurons.{layer}.scale": train.fixed for layer in ("first", "second")}
    return train.fit(
        loss, params, key, optimiser=optimiser_of(config.learning_rate, config.weight_decay), n_epochs=config.epochs,
        n_updates=config.n_updates // config.epochs, constraints=limits, evaluate=test,
        checkpoint=None if folder is None else train.Checkpoint(folder, identity=identity(config, "mnist", OTHERS)))

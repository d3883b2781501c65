"""Training thought machines: what the experiments on them share."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, train, tree
from dynlab.keys import named
from dynlab.models.ctm import CTM
from dynlab.models.ctm_baselines import AttentiveLSTM, match_width, model_size
from dynlab.models.synchronization import MAX_DECAY
from dynlab.models.thinking import Thought, think
from experiments.contract import Progress, quiet

Array = jax.Array
LIMITS = {name: train.projected(0.0, MAX_DECAY) for name in ("decay_out", "decay_action")}


@dataclass(frozen=True)
class Training:
    """How a thought machine is trained."""

    n_updates: int = 1000
    """Updates, each on a fresh batch."""
    batch: int = 64
    """Answers in a batch."""
    learning_rate: float = 1e-3
    """Of AdamW after the warm-up; it falls to `last_learning_rate` as a cosine."""
    last_learning_rate: float = 1e-7
    """Of the last update."""
    warm_up: int = 500
    """Updates over which the rate rises from 0."""
    clip_quantile: float = 0.9
    """Gradients are clipped at this quantile of their recent norms; 0 for no clipping."""
    tests: int = 4
    """Fresh batches of 256 tested after each epoch."""
    epochs: int = 20
    """How often it is tested and saved."""


def check_training(config: Any) -> None:
    """Refuse values that no run could mean."""
    for name in ("n_updates", "batch", "tests", "epochs"):
        check.integer(name, getattr(config, name), 1)
    check.integer("warm_up", config.warm_up, 0)
    check.integer("epochs", config.epochs, 1, config.n_updates)
    for name in ("learning_rate", "last_learning_rate"):
        check.number(name, getattr(config, name), 0.0, low_open=True)
    check.number("clip_quantile", config.clip_quantile, 0.0, 1.0, high_open=True)


def identity(config: Any, kind: str, skip: tuple[str, ...]) -> dict[str, Any]:
    """What a checkpoint must agree in: the kind of network and all fields of its config but those to `skip`."""
    names = [field.name for field in dataclasses.fields(config) if field.name not in skip]
    return {"kind": kind, **{name: getattr(config, name) for name in names}}


def parity_machine(config: Any, history: int) -> CTM:
    """The thought machine for strings of signs whose sizes a config has."""
    return CTM(n_inputs=config.n_attention, n_tokens=config.n_signs, n_symbols=2, positions="rotation",
               n_units=config.n_units, n_attention=config.n_attention, n_heads=config.n_heads, n_history=history,
               n_hidden=config.n_hidden, n_out=config.n_sync, n_action=config.n_sync, n_outputs=(config.n_signs, 2))


def matched_lstm(model: CTM) -> AttentiveLSTM:
    """The LSTM with the same attention and as many parameters."""
    assert model.n_outputs is not None  # it has a head
    make = lambda n: AttentiveLSTM(  # noqa: E731
        n_inputs=model.n_inputs, n_tokens=model.n_tokens, n_symbols=model.n_symbols, positions=model.positions,
        n_units=n, n_attention=model.n_attention, n_heads=model.n_heads, n_outputs=model.n_outputs)
    return make(match_width(make, model_size(model), high=1 << 13))


NO_NETWORKS, NO_SYNC, NEITHER = "no private networks", "no synchronization", "neither"
_PLAIN = {"private": False, "n_history": 1, "n_hidden": None}
_APART = {"synchrony": False, "n_out": 0, "n_action": 0}
LEFT_OUT: dict[str, dict[str, Any]] = {NO_NETWORKS: _PLAIN, NO_SYNC: _APART, NEITHER: _PLAIN | _APART}


def without(machine: CTM, part: str) -> CTM:
    """The machine with a part left out, a key of `LEFT_OUT`, and all else the same."""
    return machine.replace(**LEFT_OUT[part])  # type: ignore[attr-defined]


@functools.cache  # a new one would compile again
def optimiser_of(config: Training, clip: bool = True) -> Any:
    """AdamW without weight decay, warm-up and cosine; clipping at a quantile of the norms for thought machines."""
    import optax

    warm_up = min(config.warm_up, config.n_updates // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm_up, config.n_updates,
                                              config.last_learning_rate)
    rule = optax.adamw(rate, weight_decay=0.0)
    return optax.chain(train.quantile_clip(config.clip_quantile), rule) if clip and config.clip_quantile else rule


@tree.dataclass
class TickLoss:
    """The two-tick loss on a fresh batch of a task whose batches have `symbols` and `labels`."""

    model: Any
    task: Any
    n_ticks: int = tree.static()
    batch: int = tree.static()
    remat: int | None = tree.static(default=None)
    mask: Any = tree.static(default=None)  # (logits, labels) -> the positions that count, for two_ticks

    def thought(self, params: Any, key: Array, size: int) -> tuple[Thought, Any]:
        """Answers about a fresh batch, and the batch."""
        drawn = self.task.batch(named(key, "batch"), size)
        drop = named(key, "dropout")
        return think(self.model, params, drawn.symbols, self.n_ticks, key=drop, remat=self.remat), drawn

    def __call__(self, params: Any, key: Array) -> tuple[Array, dict[str, Array]]:
        """The loss, and means of the ticks it chose."""
        thought, drawn = self.thought(params, key, self.batch)
        sure = thought.certainty if isinstance(self.model, CTM) else None
        counts = None if self.mask is None else self.mask(jax.lax.stop_gradient(thought.logits), drawn.labels)
        found = train.two_ticks(thought.logits, sure, drawn.labels, counts)
        return found.loss, {"best": jnp.mean(found.best.astype(jnp.float32)),
                            "certain": jnp.mean(found.certain.astype(jnp.float32))}


def answer_tick(model: Any, certainty: Array) -> Array:
    """The tick whose answer counts, (B,): the most certain one, the last of an LSTM."""
    last = jnp.full(certainty.shape[0], certainty.shape[1] - 1)
    return jnp.argmax(certainty, axis=1) if isinstance(model, CTM) else last


def mean_of_batches(one: Callable[[Array], Any], key: Array, batches: int) -> Any:
    """The means of what `one` says of as many fresh batches, one after the other."""
    return jax.tree.map(lambda rows: jnp.mean(rows, axis=0), jax.lax.map(one, jax.random.split(key, batches)))


@tree.dataclass
class TickTest:
    """Accuracy on fresh batches at the most certain tick, by tick, and by position at the most certain tick."""

    loss: TickLoss
    tests: int = tree.static()

    def __call__(self, params: Any, key: Array) -> dict[str, Array]:
        """accuracy, all positions right ("exact"), by_tick (T,), by_position (...)."""

        def one(key: Array) -> dict[str, Array]:
            thought, drawn = self.loss.thought(params, key, 256)
            right = jnp.argmax(thought.logits, axis=-1) == drawn.labels[:, None]  # (B, T, ...)
            at = answer_tick(self.loss.model, thought.certainty)
            chosen = jax.vmap(lambda rows, tick: rows[tick])(right, at)
            flat = chosen.reshape(256, -1)
            return {"accuracy": jnp.mean(flat), "exact": jnp.mean(jnp.all(flat, axis=1)),
                    "by_tick": jnp.mean(right.reshape(256, self.loss.n_ticks, -1), axis=(0, 2)),
                    "by_position": jnp.mean(chosen, axis=0)}

        return mean_of_batches(one, key, self.tests)


@jax.jit  # here, not in a loop: each new one compiles for seconds
def fresh(model: Any, key: Array) -> Any:
    """Parameters of an untrained network."""
    return model.init(key)


def train_one(
    loss: Any, config: Training, key: Array, *, evaluate: Any, folder: Path | None = None, identity: Any = None,
    clip: bool = True, optimiser: Callable[..., Any] = optimiser_of,
) -> train.Fit:
    """Train one network; with a folder, go on from what it holds."""
    params = fresh(loss.model, named(key, "network"))
    limits = {name: rule for name, rule in LIMITS.items() if getattr(params, name, None) is not None}
    return train.fit(
        loss, params, key, optimiser=optimiser(config, clip), n_epochs=config.epochs,
        n_updates=config.n_updates // config.epochs, constraints=limits, evaluate=evaluate,
        checkpoint=None if folder is None else train.Checkpoint(folder, identity=identity),
    )


def train_all(jobs: Mapping[Any, Callable[[], train.Fit]], progress: Progress = quiet) -> dict[Any, train.Fit]:
    """The results of independent trainings, side by side on all cores of a CPU, in turn elsewhere."""
    cores = min(os.cpu_count() or 1, 8) if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(cores) as pool:
        running = {pool.submit(job): name for name, job in jobs.items()}
        for task in progress(list(running), "networks"):
            task.result()
    return {name: task.result() for task, name in running.items()}

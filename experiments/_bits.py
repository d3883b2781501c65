"""Training networks on N-parity and N-DMS under a curriculum: what the experiments on bits share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from dynlab import GRU, LSTM, check, tasks, train, tree
from dynlab.keys import named
from dynlab.models.leaky_rnn import LeakyParams, LeakyRNN
from experiments import _trained
from experiments._trained import Network
from experiments.contract import Progress, quiet

Array = jax.Array
FIRST_N = 2


@dataclass(frozen=True)
class Training:
    """How networks are trained."""

    task: Literal["parity", "dms"] = "parity"
    """"parity" or "dms"."""
    curriculum: Literal["single", "cumulative", "sliding", "none"] = "cumulative"
    """"single" (one N at a time), "cumulative" (all N so far: multi-head), "sliding" or "none" (max_n from scratch)."""
    model: Literal["leaky", "gru", "lstm"] = "leaky"
    """"leaky" is the published network."""
    n_units: int = 500
    """Units."""
    max_n: int = 12
    """Training ends when this N is solved."""
    n_networks: int = 1
    """Networks, trained together."""
    first_network: int = 0
    """Index of the first of them; its number and the seed draw a network, so that many can be split over machines."""
    together: bool = False
    """Networks side by side (for GPUs and small networks) instead of an epoch of each in turn."""
    tau: float = 0.0
    """0: time constants are trained from U(1, 2); a number above: all units have it and it is fixed."""
    placement: Literal["outside", "inside"] = "outside"
    """Where the non-linearity is: "outside" the leak (the published default) or "inside"."""
    n_epochs: int = 1000
    """Largest number of epochs."""
    n_updates: int = 600
    """Updates in an epoch."""
    n_tests: int = 50
    """Fresh batches tested after each epoch."""
    batch: int = 256
    """Sequences in a batch."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """"sgd" (momentum 0.1, Nesterov) or "adam"."""
    learning_rate: float = 0.05
    """Of the optimiser."""
    clip: float = 2.0
    """Largest norm of the gradient of all parameters."""
    window: int = 2
    """Tasks trained at once by the sliding curriculum."""
    forget: int = 1
    """Tasks it drops when the newest is solved."""


@tree.dataclass
class Kept:
    """The stage of the curriculum, and the networks as they were when N = 2, 3, ... was solved (zeros before)."""

    curriculum: train.Stage
    networks: Any


@tree.dataclass
class Heads:
    """Losses and accuracies of all tasks on a fresh batch: the loss to train on, and the test."""

    model: Any
    task: Any
    curriculum: train.Curriculum
    batch: int = tree.static()
    n_tests: int = tree.static()

    @property
    def one_head(self) -> bool:
        """Curricula with one task at a time train one head again and again."""
        return self.curriculum.kind in ("single", "none")

    def start(self, network: Network, key: Array) -> Any:
        """States of a batch before the first input: random as published; zero for gated networks, as for the LSTM."""
        keys = jax.random.split(named(key, "state"), self.batch)
        if isinstance(network.rnn, LeakyParams):
            return jax.vmap(partial(self.model.init_state, network.rnn))(keys)
        return jax.vmap(lambda _: self.model.init_state(network.rnn))(keys)

    def workspace(self, network: Network, key: Array, stage: Any) -> Any:
        """Memory that all updates of an epoch share."""
        inputs = jax.ShapeDtypeStruct((self.batch, self.task.n_steps, 1), check.default_float())
        return train.workspace(self.model, network.rnn, self.start(network, key), inputs)

    def draw(
        self, network: Network, key: Array, stage: train.Stage, workspace: Any = None
    ) -> tuple[Array, Array]:
        """Losses and accuracies (K,) of the tasks on one batch; NaN for a task that no head answers."""
        lengths = train.common_key(named(key, "length"))  # side by side, all wait for the longest
        bits = self.task.replace(n=stage.high + FIRST_N).batch(named(key, "bits"), self.batch, lengths)
        leaky = isinstance(network.rnn, LeakyParams)
        inputs = bits.inputs if leaky else 2 * bits.inputs - 1  # -1 and 1, as published for the LSTM
        states = self.start(network, key)
        last = train.last_state(self.model, network.rnn, states, inputs, bits.start, workspace=workspace)
        features = jax.vmap(partial(self.model.observe, network.rnn))(last)
        logits = network.readout(features).reshape(self.batch, -1, 2)
        if not self.one_head:
            return train.head_losses(logits, bits.labels)
        losses, hits = train.head_losses(logits, bits.labels[:, stage.high][:, None])
        blank = jnp.full(self.curriculum.n_tasks, jnp.nan)
        return blank.at[stage.high].set(losses[0]), blank.at[stage.high].set(hits[0])

    def __call__(
        self, network: Network, key: Array, stage: Kept, workspace: Any = None
    ) -> tuple[Array, dict[str, Array]]:
        """The sum of the losses of the tasks trained now, and their mean accuracy."""
        active = self.curriculum.active(stage.curriculum)
        losses, hits = self.draw(network, key, stage.curriculum, workspace)
        total = jnp.sum(jnp.where(active, losses, 0.0))
        return total, {"train_accuracy": jnp.sum(jnp.where(active, hits, 0.0)) / jnp.sum(active)}


@tree.dataclass
class Test:
    """Accuracies of all tasks on `n_tests` fresh batches, and what is followed along the training."""

    heads: Heads

    def __call__(self, network: Network, key: Array, stage: Kept) -> dict[str, Array]:
        """accuracy (K,), NaN for tasks not trained now; newest N; mean and deviation of tau."""
        keys = jax.random.split(key, self.heads.n_tests)
        hits = jax.lax.map(lambda k: self.heads.draw(network, k, stage.curriculum)[1], keys)
        active = self.heads.curriculum.active(stage.curriculum)
        accuracy = jnp.where(active, jnp.mean(hits, axis=0), jnp.nan)
        report = {"accuracy": accuracy, "n": stage.curriculum.high + FIRST_N,
                  "newest": accuracy[stage.curriculum.high], "mean_accuracy": jnp.nanmean(accuracy)}
        if isinstance(network.rnn, LeakyParams):
            tau = self.heads.model.time_constants(network.rnn)
            report |= {"tau_mean": jnp.mean(tau), "tau_sd": jnp.std(tau, ddof=1)}
        return report


@tree.dataclass
class Advance:
    """The curriculum's rule, which also keeps a copy of each network that solved its task."""

    curriculum: train.Curriculum

    def __call__(self, stage: Kept, report: dict[str, Array], network: Network) -> Kept:
        """The next stage."""
        old = stage.curriculum
        new = self.curriculum.advance(old, report["accuracy"])
        solved = (new.solved[old.high] >= 0) & (old.solved[old.high] < 0)
        put = lambda kept, leaf: kept.at[old.high].set(jnp.where(solved, leaf, kept[old.high]))  # noqa: E731
        return Kept(new, jax.tree.map(put, stage.networks, network))


def is_done(stage: Kept) -> Array:
    """The stop rule: the last N is solved."""
    return stage.curriculum.done


def build(config: Training) -> Any:
    """The recurrent model of a config."""
    if config.model == "leaky":
        return LeakyRNN(n_units=config.n_units, activation="leaky_relu", placement=config.placement,
                        tau=config.tau or 1.0, tau_spread=0.0 if config.tau else 1.0, self_connections=False)
    return {"gru": GRU, "lstm": LSTM}[config.model](n_units=config.n_units)


def heads_of(config: Training) -> Heads:
    """Loss and test of a config."""
    kinds = {"parity": tasks.NParity, "dms": tasks.NDMS}
    curriculum = train.Curriculum(kind=config.curriculum, n_tasks=config.max_n - FIRST_N + 1,
                                  window=config.window, forget=config.forget)
    task: Any = kinds[config.task](max_n=config.max_n)
    return Heads(build(config), task, curriculum, batch=config.batch, n_tests=config.n_tests)


def draw_network(heads: Heads, key: Array) -> Network:
    """Initial parameters, with two outputs a head."""
    return _trained.draw_network(heads.model, 2 if heads.one_head else 2 * heads.curriculum.n_tasks, key)


def optimiser_of(config: Training) -> Any:
    """The published optimiser: clipping by the norm of all parameters, then SGD with Nesterov momentum; or Adam."""
    import optax

    rule = (optax.sgd(config.learning_rate, momentum=0.1, nesterov=True) if config.optimiser == "sgd"
            else optax.adam(config.learning_rate))
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)


def constraints_of(config: Training, networks: Network) -> dict[str, Any]:
    """No self-connections; time constants fixed where the config says so."""
    if config.model != "leaky":
        return {}
    held = {"rnn.tau": train.fixed} if config.tau else {}
    weights = networks.rnn.weight_hh
    diagonal = jnp.broadcast_to(1.0 - jnp.eye(config.n_units, dtype=weights.dtype), weights.shape)
    return {"rnn.weight_hh": train.masked(diagonal), **held}


def validate(config: Training) -> None:
    """Refuse values that no run could mean."""
    check.integer("max_n", config.max_n, FIRST_N)
    for name in ("n_units", "n_networks", "n_epochs", "n_updates", "n_tests", "batch"):
        check.integer(name, getattr(config, name), 1)
    check.number("tau", config.tau, 0.0)
    if 0 < config.tau < 1:
        raise ValueError(f"tau must be 0 (trained) or at least one step, got {config.tau}")
    if config.tau and config.model != "leaky":
        raise ValueError(f"tau must be 0 for a {config.model}, whose gates set its timescales, got {config.tau}")
    check.number("learning_rate", config.learning_rate, 0.0, low_open=True)
    check.number("clip", config.clip, 0.0, low_open=True)
    heads_of(config).curriculum.init()


def identity(config: Training) -> dict[str, Any]:
    """What a checkpoint must agree in: everything but how long to train."""
    names = [item.name for item in fields(Training) if item.name not in ("n_epochs", "together")]
    return {name: getattr(config, name) for name in names}


def train_networks(
    config: Training, key: Array, progress: Progress = quiet, folder: Path | None = None
) -> tuple[Heads, train.Fit]:
    """Train; with a folder, go on from what it holds."""
    heads = heads_of(config)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(
        config.first_network + jnp.arange(config.n_networks))
    networks = jax.jit(jax.vmap(partial(draw_network, heads)))(keys)
    first = heads.curriculum.init()
    empty = jax.tree.map(lambda leaf: jnp.zeros((leaf.shape[0], heads.curriculum.n_tasks, *leaf.shape[1:]), leaf.dtype),
                         networks)
    stage = Kept(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.n_networks, *leaf.shape)), first), empty)
    result = train.fit(
        heads, networks, keys, optimiser=optimiser_of(config), n_epochs=config.n_epochs, n_updates=config.n_updates,
        constraints=constraints_of(config, networks), evaluate=Test(heads), stage=stage,
        advance=Advance(heads.curriculum), stop=is_done, progress=_trained.epochs_bar(progress, "epochs"),
        together=config.together, on_epoch=_notes(progress),
        checkpoint=None if folder is None else train.Checkpoint(folder, identity=identity(config)),
    )
    return heads, result


def _notes(progress: Progress) -> Any:
    """After each epoch a line with N, loss, accuracy and tau of every network, where progress can say it."""
    note = getattr(progress, "note", None)
    if note is None:
        return None

    def say(epoch: int, now: Any, report: dict[str, Any]) -> None:
        columns = [("N", "n", "d"), ("loss", "loss", ".3f"), ("accuracy at N", "newest", ".3f"),
                   ("tau", "tau_mean", ".3f")]
        parts = [f"{label} {' '.join(format(v, form) for v in report[name].tolist())}"
                 for label, name, form in columns if name in report]
        note(f"epoch {epoch}: {', '.join(parts)}")

    return say

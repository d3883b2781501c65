"""What is measured in a network trained on bits: timescales, dynamics, and what damage does."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import (
    ablation,
    ablation_groups,
    autocorrelation,
    check,
    compare_exponentials,
    draw_starts,
    fixed_points,
    forget_gate_timescale,
    jacobian,
    lyapunov,
    pca_dim,
    perturbation,
    phase_map,
    simulate,
    streaming_accuracy,
    train,
    tree,
)
from dynlab.keys import named
from dynlab.models.leaky_rnn import LeakyParams
from dynlab.readout.linear import Linear
from experiments._bits import FIRST_N, Heads, Kept, Network, constraints_of, heads_of, optimiser_of

Array = jax.Array
LAGS = 30  # short on purpose: long lags are bias
MAX_TAU = 100.0
BURN_IN = 500
WEIGHT_SIZES = np.r_[0.0, np.geomspace(1e-2, 10.0, 10)]
TAU_SIZES = np.r_[0.0, np.geomspace(1e-3, 10.0, 13)]


@dataclass(frozen=True)
class Analysis:
    """How a trained network is measured."""

    at: tuple[int, ...] = (2, 5, 8, 11)
    """Values of N at which timescales are measured (those that were solved; the largest solved is added)."""
    timescale_steps: int = 10_000
    """Steps of a trial after the burn-in of 500 (published: 100,000)."""
    timescale_trials: int = 4
    """Trials, each with its own share of ones (published: 10)."""
    damage: bool = True
    """Ablate units and perturb weights and time constants at the largest N."""
    repeats: int = 10
    """Streams (and directions) of each damage."""
    retrain_to: int = 0
    """Retrain each network with one head on every N from the one it solved up to this one; 0 for not."""
    retrain_epochs: int = 20
    """Epochs of each retraining."""


def values_of(network: Network) -> tuple[float, float]:
    """The inputs that stand for 0 and 1."""
    return (0.0, 1.0) if isinstance(network.rnn, LeakyParams) else (-1.0, 1.0)


@partial(jax.jit, static_argnames=("steps", "trials"))
def _inputs(values: Any, key: Array, *, steps: int, trials: int) -> Array:
    """Streams (trials, steps, 1), each with its own share of ones."""
    p_key, bit_key = jax.random.split(key)
    p = jax.random.uniform(p_key, (trials, 1))
    bits = jax.random.bernoulli(bit_key, p, (trials, steps)).astype(jnp.int32)
    return jnp.asarray(values)[bits][..., None]


@partial(jax.jit, static_argnames=("steps", "trials"))
def _activity(
    heads: Heads, network: Network, key: Array, *, steps: int, trials: int
) -> tuple[Array, Any, Array, Array]:
    """Autocorrelations (31, N), the fits, components for 90 % of the variance of one trial, phase states (T', n)."""
    inputs = _inputs(values_of(network), named(key, "bits"), steps=BURN_IN + steps, trials=trials)
    start = jax.vmap(partial(heads.model.init_state, network.rnn))(jax.random.split(named(key, "state"), trials))
    run = simulate(heads.model, network.rnn, inputs, state=start, washout=BURN_IN, record="state")
    cells = getattr(run.outputs, "c", run.outputs)  # of an LSTM the cell states, as published
    acf = autocorrelation(cells, LAGS, trials=True)
    points = jax.vmap(lambda s: tree.phase(s)[0])(jax.tree.map(lambda leaf: leaf[0, -1000:], run.outputs))
    return acf, compare_exponentials(acf, offset=False, max_tau=MAX_TAU), pca_dim(cells[0]), points


def timescales_of(heads: Heads, network: Network, key: Array, config: Analysis) -> dict[str, Any]:
    """Timescales of one network from its parameters, its activity and its linear part."""
    acf, fits, n_components, points = _activity(
        heads, network, key, steps=config.timescale_steps, trials=config.timescale_trials)
    number = np.asarray(fits.aic_number)
    slow = np.where(number == 2, np.max(fits.two.tau, axis=-1), np.asarray(fits.one.tau)[..., 0])
    net = np.where((number > 0) & (slow > 1.0), slow, np.nan)  # a timescale below one step is none
    out: dict[str, Any] = {"acf": np.asarray(acf), "tau_net": net, "n_components": int(n_components),
                           "bic_agrees": float(np.mean(number == np.asarray(fits.bic_number))), "points": points}
    weights = network.rnn.weight_hh
    if isinstance(network.rnn, LeakyParams):
        tau = np.asarray(heads.model.time_constants(network.rnn), np.float64)
        linear = np.diag(1.0 - 1.0 / tau) + np.asarray(weights, np.float64) / tau[:, None]
        out |= {"tau": tau, "radius": float(np.abs(np.linalg.eigvals(np.asarray(weights, np.float64))).max()),
                "modulus": float(np.abs(np.linalg.eigvals(linear)).max()), "mean_weight": float(jnp.mean(weights))}
    else:
        inputs = _inputs(values_of(network), named(key, "gates"), steps=2000, trials=1)[0]
        tau = np.asarray(forget_gate_timescale(heads.model, network.rnn, inputs, washout=BURN_IN))
        system = phase_map(heads.model, network.rnn)
        linear = np.asarray(jacobian(system.at(jnp.mean(inputs, axis=0)), jnp.mean(points, axis=0)), np.float64)
        out |= {"tau": tau, "radius": np.nan, "modulus": float(np.abs(np.linalg.eigvals(linear)).max()),
                "mean_weight": float(jnp.mean(weights))}
    return out


@jax.jit
def _exponent(heads: Heads, network: Network, inputs: Array, key: Array) -> Any:
    return lyapunov(phase_map(heads.model, network.rnn), inputs, k=1, warmup=200, key=key)


@jax.jit
def _points(heads: Heads, network: Network, starts: Array, inputs: Array) -> Any:
    system = phase_map(heads.model, network.rnn)
    return jax.lax.map(lambda x: fixed_points(system.at(x), starts, steps=20), inputs)


def dynamics_of(heads: Heads, network: Network, states: Array, key: Array) -> dict[str, float]:
    """Leading exponent under random bits, and fixed points while each bit is held."""
    inputs = _inputs(values_of(network), named(key, "drive"), steps=2200, trials=1)[0]
    exponent = _exponent(heads, network, inputs, named(key, "frame"))
    starts = draw_starts(named(key, "starts"), states, 16)
    found = _points(heads, network, starts, jnp.asarray(values_of(network))[:, None])
    counts = [int(np.sum(np.asarray(found.keep[i]) & (np.asarray(found.status[i]) == 0))) for i in range(2)]
    return {"exponent": float(exponent.exponents[0]), "fixed_points_0": float(counts[0]),
            "fixed_points_1": float(counts[1])}


def damage_of(heads: Heads, network: Network, n: int, key: Array, task: str, config: Analysis) -> dict[str, Any]:
    """Accuracy on fair bits, and what ablation and perturbation leave of it."""
    head = 0 if heads.one_head else n - FIRST_N
    leaky = isinstance(network.rnn, LeakyParams)  # gated networks are trained from the zero state, these are not
    about: dict[str, Any] = {"n": n, "head": head, "task": task, "values": values_of(network), "random_start": leaky}
    keys = jax.random.split(named(key, "streams"), config.repeats)
    base = [float(streaming_accuracy(heads.model, network.rnn, network.readout, k, **about)) for k in keys]
    out: dict[str, Any] = {"accuracy": float(np.mean(base))}
    if not config.damage:
        return out
    options = about | {"repeats": config.repeats}
    if leaky:
        tau = network.rnn.tau  # as trained: those below the clamp are in order
        short, long = (np.asarray(group) for group in ablation_groups(tau, min(20, tau.shape[0] // 2)))
        lost = ablation(heads.model, network.rnn, network.readout, named(key, "ablate"), np.r_[short, long], **options)
        relative = np.asarray(lost.relative)
        out |= {"short": float(np.mean(relative[: len(short)])), "long": float(np.mean(relative[len(short) :])),
                "tau_short": float(np.mean(np.maximum(tau[short], 1.0))), "tau_long": float(np.mean(tau[long]))}
    for what, sizes in (("weights", WEIGHT_SIZES), ("tau", TAU_SIZES)):
        if what == "tau" and not leaky:
            continue
        hurt = perturbation(heads.model, network.rnn, network.readout, named(key, what), sizes, what=what, **options)
        out |= {f"half_{what}": float(hurt.half_damage), f"relative_{what}": np.asarray(hurt.relative)}
    return out


def retraining(training: Any, network: Network, n: int, key: Array, config: Analysis) -> dict[int, float]:
    """Accuracy on fair bits after retraining on each N alone, from the network that solved n, with its newest head.

    The start is the same for every N; all are one program.
    """
    single = dataclasses.replace(training, curriculum="single", max_n=config.retrain_to, n_epochs=config.retrain_epochs)
    heads = heads_of(single)
    first = min(2 * (n - FIRST_N), network.readout.weights.shape[-1] - 2)
    newest = slice(first, first + 2)
    start = Network(network.rnn, Linear(network.readout.weights[:, newest], network.readout.intercept[newest]))
    one = jax.tree.map(lambda leaf: leaf[None], start)
    leaky = isinstance(network.rnn, LeakyParams)
    optimiser, constraints, out = optimiser_of(single), constraints_of(single, one), {}
    for later in range(n, config.retrain_to + 1):
        task = jnp.int32(later - FIRST_N)
        at = dataclasses.replace(heads.curriculum.init(), low=task, high=task)
        own = jax.random.fold_in(named(key, "retrain"), later)
        fit = train.fit(heads, one, own[None], optimiser=optimiser, n_epochs=config.retrain_epochs,
                        n_updates=single.n_updates, constraints=constraints, together=False,
                        stage=jax.tree.map(lambda leaf: leaf[None], Kept(at, ())))
        trained = jax.tree.map(lambda leaf: leaf[0], fit.params)
        out[later] = float(streaming_accuracy(
            heads.model, trained.rnn, trained.readout, named(own, "stream"), n=later, head=0, task=training.task,
            values=values_of(network), random_start=leaky, n_steps=10_000))
    return out


def validate(config: Analysis) -> None:
    """Refuse values that no run could mean."""
    for n in config.at:
        check.integer("at", n, FIRST_N)
    check.integer("timescale_steps", config.timescale_steps, 10 * LAGS)
    check.integer("timescale_trials", config.timescale_trials, 1)
    check.integer("repeats", config.repeats, 1)
    check.integer("retrain_to", config.retrain_to, 0)
    check.integer("retrain_epochs", config.retrain_epochs, 1)

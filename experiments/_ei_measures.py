"""What the experiments on E/I reservoirs measure on one network: two tasks of one input, two forecasts, activity.

Memory capacity and NARMA-10 share one simulation and one decomposition: the input of NARMA-10, uniform on [0, 0.5],
mapped to [-1, 1], is the input of the memory task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import EIReservoir, balance, check, generate, ridge, simulate, tree
from dynlab.analysis import activity
from dynlab.analysis.capacity import lagged, squared_correlation
from dynlab.keys import named
from dynlab.metrics import valid_prediction_time
from dynlab.plasticity import adapt_inhibition, beta_targets, one_step_design, phases
from dynlab.sweep import Label
from dynlab.tasks import Lorenz, MackeyGlass, Narma

Array = jax.Array

STD = 3.0**-0.5
"""Standard deviation of the input of every task: that of a uniform number on [-1, 1]."""
FLOWS: dict[str, Any] = {"mackey_glass": (MackeyGlass, 1), "lorenz": (Lorenz, 3)}
"""Forecast task -> (generator, channels)."""
LABELS = {
    "memory": Label("1", "memory capacity, held out, summed over delays"),
    "narma": Label("1", "NRMSE of NARMA-10, held out"),
    "mackey_glass": Label("1", "NRMSE of the Mackey-Glass series one step ahead, held out"),
    "mackey_glass_valid": Label("step", "valid prediction time in closed loop, mean over starts"),
    "lorenz": Label("1", "NRMSE of Lorenz-63 one step ahead, held out"),
    "lorenz_valid": Label("step", "valid prediction time in closed loop, mean over starts"),
    "rate": Label("1", "mean rate"),
    "entropy": Label("bit", "mean entropy of a unit's rates in 50 bins, of the test samples"),
    "saturated": Label("1", "share of units with a mean rate above 0.95"),
    "silent": Label("1", "share of units with a mean rate below 0.05"),
    "synchrony": Label("1", "synchrony of the rates, 1 in unison"),
    "measured_balance": Label("1", "global balance of excitation and inhibition"),
    "balance_deviation": Label("1", "standard deviation of the balance over units"),
}
OF_ADAPTED = {
    "rate_error": Label("1", "mean absolute distance of mean rates from the targets"),
    "adaptation_status": Label("1", "0 targets reached, 1 not reached"),
}


@dataclass(frozen=True)
class Protocol:
    """Lengths, in steps, and the ridge; static."""

    washout: int = 500
    train: int = 3000
    test: int = 1500
    max_delay: int = 60
    ridge: float = 1e-6
    forecasts: bool = True
    n_starts: int = 8
    longest: int = 1000
    adaptation: tuple[tuple[int, float], ...] = ((3000, 1e-2), (2000, 1e-3))

    @property
    def length(self) -> int:
        return self.washout + self.train + self.test


@tree.dataclass
class Adapted:
    """A network whose inhibition is set for target rates; what the sweeps of adapted networks run over.

    Attributes:
        model: the reservoir. in_degree, gain, input_scaling: its knobs of that name.
        target: rho, mean of the target rates. heterogeneity: 0 for equal targets, else 1/(a + b) of the Beta(a, b)
            distribution they are drawn from, with mean `target`: at 0.5, 0.25 is Beta(2, 2) and 0.1 is Beta(5, 5).
        by_rule: True for the local rule, False for the one-step design (static).
    """

    model: EIReservoir
    in_degree: Any = 50.0
    gain: Any = 10.0
    input_scaling: Any = 0.5
    target: Any = 0.5
    heterogeneity: Any = 0.0
    by_rule: bool = tree.static(default=False)

    def reservoir(self) -> EIReservoir:
        """The reservoir with these knobs."""
        return self.model.replace(in_degree=self.in_degree, gain=self.gain, input_scaling=self.input_scaling)

    def init(self, key: Array) -> Any:
        """Check the knobs."""
        check.number("target", self.target, 0.0, 1.0, low_open=True, high_open=True)
        check.number("heterogeneity", self.heterogeneity, 0.0)
        return self.reservoir().init(key)

    def targets(self, key: Array) -> Array:
        """Target rates (N,)."""
        total = 1.0 / jnp.where(self.heterogeneity > 0, self.heterogeneity, 1.0)
        drawn = beta_targets(key, self.model.n_units, self.target * total, (1.0 - self.target) * total)
        return jnp.where(self.heterogeneity > 0, drawn, self.target)


def adapt(setting: Adapted, protocol: Protocol, key: Array) -> tuple[Any, Array, Array]:
    """``(params, targets (N,), status)`` of the network of `key`, adapted for an input uniform on [-1, 1]."""
    model = setting.reservoir()
    params = model.init(named(key, "network"))
    targets = setting.targets(named(key, "targets"))
    if not setting.by_rule:
        found = one_step_design(model, params, targets)
        return found.params, targets, found.status
    rates = phases(*protocol.adaptation)
    inputs = jax.random.uniform(named(key, "adaptation"), (rates.shape[0], 1), check.default_float(), -1.0, 1.0)
    adapted = adapt_inhibition(model, params, inputs, targets, learning_rate=rates)
    return adapted.params, targets, adapted.status


def global_member(protocol: Protocol, model: EIReservoir, key: Array) -> dict[str, Array]:
    """All measures of a network with one global balance."""
    return measure(protocol, model, model.init(named(key, "network")), key)[0]


def adapted_member(protocol: Protocol, setting: Adapted, key: Array) -> dict[str, Array]:
    """All measures of an adapted network."""
    params, targets, status = adapt(setting, protocol, key)
    out, rates = measure(protocol, setting.reservoir(), params, key)
    return out | {"rate_error": activity.rate_error(rates, targets), "adaptation_status": status}


def measure(protocol: Protocol, model: EIReservoir, params: Any, key: Array) -> tuple[dict[str, Array], Array]:
    """The measures of LABELS, and the mean rate of every unit (N,)."""
    out, states = _memory_and_narma(protocol, model, params, named(key, "narma"))
    of_units = balance(model, params)
    out |= {
        "rate": jnp.mean(states),
        "entropy": activity.neuronal_entropy(states[protocol.train :]),
        "saturated": activity.saturated_fraction(states),
        "silent": activity.silent_fraction(states),
        "synchrony": activity.synchrony(states),
        "measured_balance": of_units.overall,
        "balance_deviation": jnp.std(of_units.per_unit),
    }
    if protocol.forecasts:
        for name in FLOWS:
            out |= _forecast(protocol, model, params, name, key)
    return out, activity.firing_rates(states)


def narma_input(protocol: Protocol, key: Array) -> tuple[Array, Array]:
    """Input (time, 1), uniform on [-1, 1], and target (time, 1) of NARMA-10."""
    trial = Narma(length=protocol.length).sample(key)
    return 4.0 * trial.inputs - 1.0, trial.targets


def _memory_and_narma(protocol: Protocol, model: Any, params: Any, key: Array) -> tuple[dict[str, Array], Array]:
    u, wanted = narma_input(protocol, key)
    states = simulate(model, params, u, washout=protocol.washout).outputs
    delayed = lagged(u[protocol.washout - protocol.max_delay :, 0], protocol.max_delay)[:, 1:]
    targets = jnp.concatenate([delayed, wanted[protocol.washout :]], axis=1)
    readout = ridge(states[: protocol.train], targets[: protocol.train], protocol.ridge)
    test = slice(protocol.train, None)
    predicted, truth = readout(states[test]), targets[test]
    capacity = jnp.sum(squared_correlation(predicted[:, :-1], truth[:, :-1], adjust=False))
    narma = jnp.sqrt(jnp.mean((predicted[:, -1] - truth[:, -1]) ** 2) / jnp.var(truth[:, -1]))
    return {"memory": capacity, "narma": narma}, states


def _forecast(protocol: Protocol, model: EIReservoir, params: Any, name: str, key: Array) -> dict[str, Array]:
    """One step ahead and closed loop on a chaotic series with the input statistics of the other tasks."""
    generator, channels = FLOWS[name]
    series = generator(length=protocol.length + 1).series(named(key, name))
    fit = slice(protocol.washout, protocol.washout + protocol.train)
    series = STD * (series - jnp.mean(series[fit], axis=0)) / jnp.std(series[fit], axis=0)
    if channels != model.n_inputs:  # the same network, with input weights for every channel
        model = model.replace(n_inputs=channels)
        params = params.replace(input_weights=model.init(named(key, "network")).input_weights)
    states = simulate(model, params, series[:-1], washout=protocol.washout).outputs
    wanted = series[protocol.washout + 1 :]
    readout = ridge(states[: protocol.train], wanted[: protocol.train], protocol.ridge)
    test = wanted[protocol.train :]
    error = readout(states[protocol.train :]) - test
    one_step = jnp.sqrt(jnp.mean(error**2) / jnp.mean(jnp.var(test, axis=0)))

    gap = (protocol.test - protocol.longest - 1) // protocol.n_starts
    starts = protocol.train + gap * jnp.arange(protocol.n_starts)
    free = jax.vmap(lambda at: generate(model, params, readout, protocol.longest, state=at).outputs)(states[starts])
    truth = wanted[starts[:, None] + jnp.arange(protocol.longest)]
    valid = valid_prediction_time(free, truth, threshold=0.4, scale=STD)
    return {name: one_step, f"{name}_valid": jnp.mean(valid.astype(one_step.dtype))}

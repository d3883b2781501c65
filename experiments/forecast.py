"""How far ahead does an echo state network forecast, compared with a naive and a linear forecast?

Closed-loop forecasts of the Mackey-Glass equation (tau 17), the Lorenz system and a measured series: the Santa Fe
laser where it is at hand, monthly sunspot numbers else. The naive forecast repeats the last sample; the linear
autoregression is a ridge readout of the last samples. Network and autoregression choose their hyper-parameters from
equally many candidates by the same error on a validation stretch, which for the computed systems is another
trajectory and network than those tested. All three forecast from the same start points of the test stretch.

Expected: the network outlasts the linear forecast on both chaotic systems (Jaeger and Haas 2004,
doi:10.1126/science.1091277). One step ahead on Mackey-Glass the root mean squared error of a network of 100 units is
0.0019 to 0.0024 (the example in reservoirpy's documentation, three seeds). Valid prediction times are in units of the
Lyapunov time 1 / lambda, always as medians over seeds and start points: lambda is 0.9056 for Lorenz; for Mackey-Glass
0.0052 a time unit, which is approximate (computed as tangent growth and from two trajectories, both 0.0052; other
sources print 0.0056 to 0.0086).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, check, data, plots
from dynlab.tasks import Lorenz, MackeyGlass
from experiments import _forecasting as engine
from experiments import cli
from experiments._forecast_series import REAL, SYSTEMS, lorenz_truth, plan, validate_plan
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
ESN_NAME, AR_NAME, NAIVE_NAME = "echo state network", "linear autoregression", "naive"
METHODS = (ESN_NAME, AR_NAME, NAIVE_NAME)


def real_series_at_hand() -> str:
    """The Santa Fe laser where an installed package or a data folder has it, else the sunspots that come along."""
    present = {row["name"] for row in data.available() if row["present"]}
    return "santa_fe" if "santa_fe" in present else "sunspots_monthly"


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    systems: tuple[str, ...] = SYSTEMS
    """Computed series: mackey_glass, lorenz or both."""
    real_series: str = field(default_factory=real_series_at_hand)
    """Measured series: santa_fe or sunspots_monthly."""
    n_units: int = 200
    """Units of the network."""
    spectral_radii: tuple[float, ...] = (0.4, 0.8, 1.1)
    """Candidates of the network."""
    leak_rates: tuple[float, ...] = (0.5, 1.0)
    """Candidates of the network."""
    input_scalings: tuple[float, ...] = (0.1, 0.3)
    """Candidates of the network."""
    bias_scaling: float = 0.5
    """Bias of the units, uniform up to this."""
    lag_counts: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 20, 30, 50, 75, 100)
    """Candidates of the autoregression; as many as radii times leak rates times scalings."""
    penalties: tuple[float, ...] = (1e-8, 1e-5, 1e-2, 1.0, 100.0)
    """Ridge candidates of both, for series of unit variance: noise-free ones want little, noisy ones much."""
    n_seeds: int = 5
    """Tested networks; for the computed systems each with a trajectory of its own."""
    n_starts: int = 20
    """Forecasts a seed."""
    threshold: float = 0.4
    """Error in standard deviations, root mean square over channels, that ends the valid prediction time."""
    lorenz_exponent: float = 0.9056
    """Largest Lyapunov exponent of Lorenz, a time unit."""
    mackey_glass_exponent: float = 0.0052
    """Largest Lyapunov exponent of Mackey-Glass at tau 17, a time unit; approximate."""
    shrink: int = 1
    """Divides every stretch of the computed systems; for quick looks."""

    @staticmethod
    def smoke() -> Config:
        """One computed system, a small network, short stretches: under a minute, nearly all compilation."""
        return Config(
            systems=("lorenz",),
            real_series="sunspots_monthly",
            n_units=50,
            spectral_radii=(0.8,),
            leak_rates=(1.0,),
            input_scalings=(0.1, 0.3),
            lag_counts=(10, 20),
            penalties=(1e-6, 1e-3),
            n_seeds=2,
            n_starts=4,
            shrink=4,
        )


@dataclass(frozen=True)
class Case:
    """One series: `tuning` (length, channels), `tested` (seeds, length, channels), both standardised.

    `unit` is that of a step, `step` its length in it; `lyapunov_steps` is a Lyapunov time in steps (1 where unknown).
    """

    name: str
    label: str
    unit: str
    step: float
    lyapunov_steps: float
    scale: np.ndarray
    plan: engine.Plan
    tuning: Array
    tested: Array


@dataclass(frozen=True)
class Outcome:
    """One method on one series: what it chose, its forecasts, and per seed and start its error and valid time."""

    chosen: str
    n_candidates: int
    found: engine.Forecasts
    one_step: np.ndarray  # (seeds,)
    error: np.ndarray  # (seeds, starts), at plan.horizon
    valid: np.ndarray  # (seeds, starts), Lyapunov times, or steps where the exponent is unknown
    free: np.ndarray | None = None  # (steps, channels), a long free run of the first seed


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    for name in ("systems", "spectral_radii", "leak_rates", "input_scalings", "lag_counts", "penalties"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
    for name in config.systems:
        check.choice("systems", name, SYSTEMS)
    if len(set(config.systems)) < len(config.systems):
        raise ValueError(f"systems must name each system once, got {config.systems}")
    check.choice("real_series", config.real_series, REAL)
    for name in ("n_units", "n_seeds", "n_starts", "shrink"):
        check.integer(name, getattr(config, name), 1)
    for lags in config.lag_counts:
        check.integer("lag_counts", lags, 1)
    check.number("spectral_radii", config.spectral_radii, 0.0)
    check.number("leak_rates", config.leak_rates, 0.0, 1.0, low_open=True)
    check.number("bias_scaling", config.bias_scaling, 0.0)
    for name in ("input_scalings", "penalties", "threshold", "lorenz_exponent", "mackey_glass_exponent"):
        check.number(name, getattr(config, name), 0.0, low_open=True)
    n_networks = len(config.spectral_radii) * len(config.leak_rates) * len(config.input_scalings)
    if len(config.lag_counts) != n_networks:
        raise ValueError(
            f"lag_counts must hold as many candidates as spectral_radii, leak_rates and input_scalings make together "
            f"({n_networks}), so that both methods are tuned alike; got {len(config.lag_counts)}"
        )
    for name in (*config.systems, config.real_series):
        validate_plan(name, config)
    present = {row["name"] for row in data.available() if row["present"]}
    if config.real_series not in present:
        raise ValueError(f"real_series must be at hand (see dynlab.data.available), got {config.real_series!r}")


def standardise(series: Array, plan: engine.Plan) -> tuple[Array, np.ndarray]:
    """Zero mean and unit variance over the training stretch, per channel; (..., length, channels)."""
    train = series[..., plan.washout : plan.washout + plan.train, :]
    mean, scale = train.mean(axis=-2, keepdims=True), train.std(axis=-2, keepdims=True)
    return (series - mean) / scale, np.asarray(scale)[..., 0, :]


def computed(name: str, config: Config, key: Array) -> Case:
    """Mackey-Glass or Lorenz: one trajectory for tuning, one a seed for the test."""
    used = plan(name, config)
    keys = jax.random.split(key, config.n_seeds + 1)
    if name == "lorenz":
        label, dt, rate = "Lorenz", Lorenz().dt, config.lorenz_exponent
        series = lorenz_truth(keys, used.length)
    else:
        label, dt, rate = "Mackey-Glass", MackeyGlass().dt, config.mackey_glass_exponent
        series = jax.vmap(MackeyGlass(length=used.length).series)(keys)
    series, scale = standardise(series, used)
    return Case(name, label, "time unit", dt, 1 / rate / dt, scale[0], used, series[0], series[1:])


def measured(config: Config) -> Case:
    """The measured series: tuned and tested on consecutive stretches of it."""
    used = plan(config.real_series, config)
    unit = "sample" if config.real_series == "santa_fe" else "month"
    values = jnp.asarray(data.load(config.real_series).values[: used.length])
    series, scale = standardise(values, used)
    tested = jnp.broadcast_to(series, (config.n_seeds, *series.shape))
    return Case(config.real_series, REAL[config.real_series], unit, 1.0, 1.0, scale, used, series, tested)


def candidates(config: Config, n_channels: int) -> dict[str, tuple[Any, list[str]]]:
    """For each tuned method one model with a candidate axis on its knobs, and the candidates' names."""
    knobs = list(product(config.spectral_radii, config.leak_rates, config.input_scalings))
    network = partial(ESN, n_inputs=n_channels, n_units=config.n_units, bias_scaling=config.bias_scaling)
    networks = jax.vmap(lambda r, a, s: network(spectral_radius=r, leak_rate=a, input_scaling=s))(
        *(jnp.asarray(column) for column in zip(*knobs, strict=True))
    )
    lags = partial(engine.Lags, n_channels=n_channels, max_lags=max(config.lag_counts))
    autoregressions = jax.vmap(lambda n: lags(n_lags=n))(jnp.asarray(config.lag_counts))
    return {
        ESN_NAME: (networks, [f"radius {r:g}, leak {a:g}, scale {s:g}" for r, a, s in knobs]),
        AR_NAME: (autoregressions, [f"{n} lags" for n in config.lag_counts]),
    }


def outcome(case: Case, found: engine.Forecasts, chosen: str, n_candidates: int) -> Outcome:
    """Errors and valid times of the forecasts of every seed."""
    error = jax.vmap(lambda one: engine.closed_loop_error(one, case.plan.horizon))(found)
    steps = jax.vmap(lambda one: engine.valid_steps(one, case.plan.threshold))(found)
    valid = np.asarray(steps) / case.lyapunov_steps
    return Outcome(chosen, n_candidates, found, np.asarray(found.one_step), np.asarray(error), valid)


def study(case: Case, config: Config, key: Array) -> dict[str, Outcome]:
    """Tune on the validation stretch, then test, every method on one series."""
    tune_key, test_key = jax.random.split(key)
    penalties = jnp.asarray(config.penalties)
    outcomes = {}
    for method, (models, names) in candidates(config, case.tuning.shape[-1]).items():
        scores = np.asarray(engine.validate(models, tune_key, case.tuning, penalties, case.plan))
        best, p = np.unravel_index(np.argmin(np.nan_to_num(scores, nan=np.inf)), scores.shape)
        model = jax.tree.map(lambda leaf, best=best: leaf[best], models)
        if method == AR_NAME:  # no need to carry the lags that are not used
            model = replace(model, max_lags=config.lag_counts[best])
        keys = jax.random.split(test_key, config.n_seeds)
        found = engine.evaluate(model, keys, case.tested, penalties[p], case.plan)
        result = outcome(case, found, f"{names[best]}, ridge {config.penalties[p]:g}", scores.size)
        if method == ESN_NAME and case.name in SYSTEMS:
            free = engine.free_run(model, keys[0], case.tested[0], penalties[p], case.plan, case.plan.test)
            result = replace(result, free=np.asarray(free))
        outcomes[method] = result
    outcomes[NAIVE_NAME] = outcome(case, engine.naive(case.tested, case.plan), "-", 1)
    return outcomes


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """Study the three series one after the other."""
    names = (*config.systems, config.real_series)
    cases, studies = {}, {}
    for name in progress(names, "forecasts"):
        index = (*SYSTEMS, config.real_series).index(name)  # the same stream whichever others are run
        data_key, model_key = jax.random.split(jax.random.fold_in(key, index))
        cases[name] = computed(name, config, data_key) if name in SYSTEMS else measured(config)
        studies[name] = study(cases[name], config, model_key)
    figures: dict[str, float] = {}
    for name, outcomes in studies.items():
        for method, short in zip(METHODS, ("esn", "ar", "naive"), strict=True):
            found = outcomes[method]
            figures[f"{name}_{short}_nrmse_1"] = float(np.median(found.one_step))
            figures[f"{name}_{short}_nrmse_{cases[name].plan.horizon}"] = float(np.median(found.error))
            figures[f"{name}_{short}_valid"] = float(np.median(found.valid))
    if "mackey_glass" in cases:
        rmse = figures["mackey_glass_esn_nrmse_1"] * float(np.mean(cases["mackey_glass"].scale))
        figures["mackey_glass_esn_rmse_1"] = rmse
    shown = cases[config.systems[-1]]  # in the headline
    valid, linear = (figures[f"{shown.name}_{short}_valid"] for short in ("esn", "ar"))
    return Result(
        figures=figures,
        claims=claims(config, cases, studies, figures),
        tables=tables(config, cases, studies),
        data=arrays(cases, studies),
        coords={
            "method": Variable(("method",), list(METHODS), "1", "forecaster"),
            "series": Variable(("series",), list(names), "1", "series"),
        },
        plots={
            **{f"forecast_{name}": partial(draw_forecast, cases[name], studies[name]) for name in names},
            "attractors": partial(draw_attractors, cases, studies),
        },
        headline=(
            f"forecast: {shown.label} stays valid for {valid:.1f} Lyapunov times, median of {config.n_seeds} seeds "
            f"times {config.n_starts} starts (linear autoregression {linear:.1f})"
        ),
    )


def tables(config: Config, cases: dict[str, Case], studies: dict[str, dict[str, Outcome]]) -> list[Table]:
    """What was reached and what was chosen: one row a series and method each."""
    reached, chosen = [], []
    for name, outcomes in studies.items():
        case = cases[name]
        digits, unit = (2, "LT") if name in SYSTEMS else (0, f"{case.unit}s")
        for method, found in outcomes.items():
            low, middle, high = (f"{q:.{digits}f}" for q in np.percentile(found.valid, [25, 50, 75]))
            valid = f"{middle} ({low} to {high}) {unit}"
            error = f"{np.median(found.error):.3g} over {case.plan.horizon}"
            reached.append((case.label, method, float(np.median(found.one_step)), error, valid))
            chosen.append((case.label, method, found.n_candidates, found.chosen))
    note = (
        f"medians over {config.n_seeds} seeds and {config.n_starts} starts each (quartiles); errors in standard "
        f"deviations; valid while the error is at most {config.threshold:g}, cut at the longest forecast ("
        + ", ".join(f"{case.label} {case.plan.longest / case.lyapunov_steps:.3g}" for case in cases.values())
        + "); LT: Lyapunov times"
    )
    columns = ("series", "method", "NRMSE 1 step", "closed loop, steps", "valid prediction time")
    return [
        Table("Tuned on the validation stretch", ("series", "method", "candidates", "chosen"), chosen),
        Table("Forecasts on the test stretch", columns, reached, note),
    ]


def claims(
    config: Config, cases: dict[str, Case], studies: dict[str, dict[str, Outcome]], figures: dict[str, float]
) -> list[Claim]:
    """The network against the linear forecast, and the documented one-step error."""
    source = "doi:10.1126/science.1091277 (direction only)"
    found = []
    for name in config.systems:
        network, linear = (float(np.median(studies[name][method].valid)) for method in (ESN_NAME, AR_NAME))
        claim = f"{cases[name].label}: the network stays valid longer than the autoregression (Lyapunov times)"
        found.append(within(claim, source, linear, np.inf, network))
    name = config.real_series
    network, linear = (float(np.median(studies[name][method].error)) for method in (ESN_NAME, AR_NAME))
    claim = f"{cases[name].label}: closed-loop error below that of the autoregression (standard deviations)"
    found.append(within(claim, "no source: this comparison asks it", -np.inf, linear, network))
    if "mackey_glass" not in cases:
        return found
    rmse = figures["mackey_glass_esn_rmse_1"]
    claim = f"Mackey-Glass one step ahead: root mean squared error, N = {config.n_units}, not above that of N = 100"
    return [*found, within(claim, "reservoirpy 0.4.2 documentation, three seeds", -np.inf, 0.0024, rmse)]


def arrays(cases: dict[str, Case], studies: dict[str, dict[str, Outcome]]) -> dict[str, Variable]:
    """The arrays of results.nc: errors and valid times of every series, forecasts and truth of each."""

    def stacked(name: str) -> np.ndarray:
        return np.stack([[getattr(outcomes[m], name) for m in METHODS] for outcomes in studies.values()])

    axes = ("series", "method", "seed")
    found = {
        "one_step": Variable(axes, stacked("one_step"), "1", "NRMSE one step ahead"),
        "closed_loop_error": Variable((*axes, "start"), stacked("error"), "1", "RMSE over the horizon / s.d."),
        "valid_time": Variable((*axes, "start"), stacked("valid"), "1", "Lyapunov times; steps for measured series"),
    }
    for name, outcomes in studies.items():
        dims = ("seed", "start", f"step_{name}", f"channel_{name}")
        truth = outcomes[ESN_NAME].found.truth
        found[f"{name}_truth"] = Variable(dims, truth, "1", "standardised series after each start")
        closed = np.stack([outcomes[method].found.closed for method in METHODS])
        found[f"{name}_forecast"] = Variable(("method", *dims), closed, "1", "closed-loop forecasts, standardised")
    return found


def draw_forecast(case: Case, outcomes: dict[str, Outcome], figure: Any) -> None:
    """The forecast whose valid time is the median one, first channel, with its error below."""
    figure.set_size_inches(9.0, 4.6)
    network = outcomes[ESN_NAME]
    order = np.argsort(network.valid, axis=None, kind="stable")
    seed, start = np.unravel_index(order[order.size // 2], network.valid.shape)
    known = case.name in SYSTEMS
    per_step = 1 / case.lyapunov_steps
    valid = float(network.valid[seed, start])
    n = case.plan.longest if not known else min(case.plan.longest, round(max(2.0 * valid, 3.0) / per_step))
    time = np.arange(1, n + 1) * per_step
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    plots.forecast(
        time,
        network.found.truth[seed, start, :n, 0],
        {method: np.clip(outcomes[method].found.closed[seed, start, :n, 0], -5, 5) for method in (ESN_NAME, AR_NAME)},
        valid_time=valid,
        threshold=case.plan.threshold,
        scale=1.0,
        xlabel=f"time after the last sample seen ({'Lyapunov time' if known else case.unit}s)",
        ylabel="x (s.d.)" if case.name == "lorenz" else f"{case.label} (s.d.)",
        title=f"{case.label}: closed loop, the forecast of median valid time",
        ax=top,
        error_ax=bottom,
    )
    bottom.set_ylim(0, 3)


def draw_attractors(cases: dict[str, Case], studies: dict[str, dict[str, Outcome]], figure: Any) -> None:
    """Truth and free run of the network: Lorenz x against z, Mackey-Glass against its past."""
    names = [name for name in ("lorenz", "mackey_glass") if name in cases]
    figure.set_size_inches(4.5 * len(names), 4.4)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        case, free = cases[name], np.asarray(studies[name][ESN_NAME].free)
        truth = np.asarray(case.tested[0, -case.plan.test :])
        if name == "lorenz":
            orbits, labels, dims = {"truth": truth, "free run": free}, ("x (s.d.)", "z (s.d.)"), (0, 2)
        else:
            lag = 17
            orbits = {
                label: np.concatenate([one[lag:], one[:-lag]], axis=1)
                for label, one in (("truth", truth), ("free run", free))
            }
            labels, dims = ("x(t) (s.d.)", f"x(t - {lag}) (s.d.)"), (0, 1)
        plots.attractor(orbits, labels=labels, dims=dims, title=case.label, ax=ax)


def main() -> int:
    """Run from the command line: python -m experiments.forecast [options]."""
    return cli.main(["forecast", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())

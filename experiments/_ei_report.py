"""Tables, claims, figures and labelled arrays of the experiment on E/I adaptation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from experiments import _ei_plots
from experiments._ei_measures import LABELS, OF_ADAPTED
from experiments._ei_statistics import HIGHER, TITLES, Comparison, best_index, compare
from experiments.contract import Claim, Result, Table, Variable, near, within

PAPER = "arXiv:2504.12480, abstract"
OURS = "pilot of this reconstruction, another program"
Values = dict[str, dict[str, np.ndarray]]
ADAPTED = ("input_scaling", "target", "heterogeneity")


def _near(values: tuple[float, ...], wanted: float) -> int | None:
    """Index of `wanted`, None where it is not there."""
    found = np.flatnonzero(np.isclose(values, wanted))
    return int(found[0]) if found.size else None


def best_balance(config: Any, values: Values, scaling: float) -> float:
    """The global balance of most memory at the input scaling next to `scaling`."""
    at = int(np.argmin(np.abs(np.asarray(config.input_scalings) - scaling)))
    return float(config.balances[best_index(values["global"]["memory"][at], True)])


def comparisons(config: Any, values: Values, method: str) -> dict[tuple[str, int, int, int], Comparison]:
    """(measure, input scaling, target, heterogeneity) -> adapted by `method` against the best global balance."""
    shape = (len(config.input_scalings), len(config.targets), len(config.heterogeneities))
    return {
        (name, *index): compare(values["global"][name][index[0]], values[method][name][index], HIGHER[name])
        for name in HIGHER if name in values[method] for index in np.ndindex(shape)
    }


def summarise(
    config: Any, values: Values, dynamics: dict[str, dict[str, np.ndarray]], example: dict[str, np.ndarray], failed: int
) -> Result:
    """Everything the run reports."""
    against = {method: comparisons(config, values, method) for method in ("design", "rule")}
    figures = _figures(config, values, against, dynamics) | {"members_not_ok": float(failed)}
    data, coords = _arrays(config, values, dynamics)
    return Result(
        figures=figures, claims=_claims(config, values, against), data=data, coords=coords,
        tables=[_global_table(config, values), *_adapted_tables(config, against), _dynamics_table(config, dynamics)],
        plots={"ei_adaptation": partial(_ei_plots.overview, config, values, example),
               "ei_dynamics": partial(_ei_plots.dynamics, config, dynamics)},
        headline=(f"largest improvement over the best global balance {figures['largest_improvement']:.0f} % "
                  f"(95 % interval {figures['largest_improvement_low']:.0f} to "
                  f"{figures['largest_improvement_high']:.0f})"),
    )


def _figures(config: Any, values: Values, against: Any, dynamics: Any) -> dict[str, float]:
    out: dict[str, float] = {}
    for i, scaling in enumerate(config.input_scalings):
        for name in ("memory", "narma"):
            at = best_index(values["global"][name][i], HIGHER[name])
            out[f"best_balance_{name}_scaling_{scaling:g}"] = float(config.balances[at])
    largest = max((c for c in against["design"].values() if math.isfinite(c.improvement)), key=lambda c: c.improvement)
    out |= {"largest_improvement": largest.improvement, "largest_improvement_low": largest.low,
            "largest_improvement_high": largest.high}
    for name, found in dynamics.items():
        out[f"exponent, {name}"] = float(found["exponent"].mean())
    return out


def _claims(config: Any, values: Values, against: Any) -> list[Claim]:
    out = []
    for i, scaling in enumerate(config.input_scalings):
        for network, low in (("global", -1.0), ("fixed_in_degree", -0.5)):
            best = config.balances[best_index(values[network]["memory"][i], True)]
            kind = "random" if network == "global" else "fixed"
            out.append(within(f"balance of most memory, {kind} in-degree, input scaling {scaling:g}", PAPER, low, 0.0,
                              float(best)))
    excited, weak = _near(config.balances, 0.25), _near(config.input_scalings, 0.1)
    if excited is not None and weak is not None:
        memory = values["fixed_in_degree"]["memory"][weak].mean(-1)
        out += [
            within("memory at balance 0.25 as part of the best, fixed in-degree", OURS, 0.0, 0.4,
                   float(memory[excited] / memory.max())),
            within("mean rate there", OURS, 0.75, 1.0, float(values["fixed_in_degree"]["rate"][weak, excited].mean())),
        ]
    for method, bound in (("rule", 0.04), ("design", 0.005)) if weak is not None else ():
        errors = values[method]["rate_error"][weak].mean(-1)
        for t, target in enumerate(config.targets):
            for h, spread in enumerate(config.heterogeneities):
                if method == "design" and not math.isclose(target, 0.5):
                    continue
                out.append(within(f"rate error, {method}, target {target:g}, heterogeneity {spread:g}", OURS, 0.0,
                                  bound, float(errors[t, h])))
    return out + _improvement_claims(config, against["design"])


def _improvement_claims(config: Any, design: Any) -> list[Claim]:
    middle, widest = _near(config.targets, 0.5), int(np.argmax(config.heterogeneities))
    out: list[Claim] = []
    if middle is None:
        return out
    for scaling, expected, significance in ((0.1, 72.0, 0.05), (0.5, 50.0, 0.01)):
        i = _near(config.input_scalings, scaling)
        if i is None:
            continue
        where = f"input scaling {scaling:g}"
        equal = design["memory", i, middle, _near(config.heterogeneities, 0.0)]
        memory, narma = (design[name, i, middle, widest] for name in ("memory", "narma"))
        out += [
            near(f"memory gained by equal targets 0.5 over the best global balance in %, {where}", OURS, expected,
                 equal.improvement, 20.0),
            within(f"p of that difference, {where}", "paired t test", 0.0, 0.01, equal.p),
            within(f"memory gained by drawn targets in %, {where}", PAPER, 0.0, math.inf, memory.improvement),
            within(f"NARMA-10 error they take away in %, {where}", PAPER, 0.0, math.inf,
                   narma.improvement),
            within(f"p of the NARMA-10 difference, {where}", "paired t test", 0.0, significance, narma.p),
        ]
        if scaling == 0.5:
            out.append(within(f"p of the memory difference, {where}", "paired t test", 0.0, 0.01, memory.p))
    return out


def _global_table(config: Any, values: Values) -> Table:
    shown = ("memory", "narma", "rate", "synchrony")
    rows = [
        (kind, scaling, beta, *(values[network][name][i, j].mean() for name in shown))
        for network, kind in (("global", "random"), ("fixed_in_degree", "fixed"))
        for i, scaling in enumerate(config.input_scalings) for j, beta in enumerate(config.balances)
    ]
    return Table(f"One global balance, N = {config.n_units}", ("in-degree", "input scaling", "balance", "MC",
                 "NARMA-10 NRMSE", "mean rate", "synchrony"), rows, note=f"means over {config.n_seeds} seeds")


def _adapted_tables(config: Any, against: Any) -> list[Table]:
    out = []
    for method, title in (("design", "One-step design"), ("rule", "Local rule")):
        rows = [
            (TITLES[name], config.input_scalings[i], config.targets[t], config.heterogeneities[h],
             config.balances[c.best], c.base, c.adapted, f"{c.improvement:+.0f} ({c.low:+.0f} to {c.high:+.0f})", c.p)
            for (name, i, t, h), c in against[method].items()
        ]
        out.append(Table(f"{title} against the best global balance", (
            "measure", "input scaling", "target", "heterogeneity", "best balance", "global", "adapted",
            "improvement % (95 %)", "p"), rows, note=f"{config.n_seeds} paired seeds; the best balance is chosen for "
            "each measure and input scaling by the mean over the same seeds"))
    return out


def _dynamics_table(config: Any, dynamics: Any) -> Table:
    degrees = [f"degree {d}" for d in range(1, len(config.max_delays) + 1)]
    rows = [(name, found["rate"].mean(), found["exponent"].mean(), found["timescale"].mean(),
             *found["capacity"].mean(0), found["capacity"].sum(-1).mean()) for name, found in dynamics.items()]
    return Table(f"Dynamics at input scaling {config.dynamics_scaling:g}", ("network", "mean rate", "exponent",
                 "timescale", *degrees, "total"), rows, note=f"means over {config.dynamics_seeds} networks; exponent "
                 "in nats a step, timescale in steps (median unit), information processing capacity by degree")


def _arrays(config: Any, values: Values, dynamics: Any) -> tuple[dict[str, Variable], dict[str, Variable]]:
    data = {}
    for network, measures in values.items():
        dims = (*(("input_scaling", "balance") if network in ("global", "fixed_in_degree") else ADAPTED), "seed")
        for name, array in measures.items():
            label = (LABELS | OF_ADAPTED)[name]
            data[f"{network}_{name}"] = Variable(dims, array, label.units, label.description)
    stacked = {name: np.stack([found[name] for found in dynamics.values()])
               for name in ("exponent", "timescale", "capacity")}
    where = ("condition", "network")
    data |= {
        "exponent": Variable(where, stacked["exponent"], "1/step", "largest exponent of the driven network"),
        "timescale": Variable(where, stacked["timescale"], "step", "integrated timescale, median over units"),
        "capacity": Variable((*where, "degree"), stacked["capacity"], "1", "information processing capacity by degree"),
    }
    coords = {
        "input_scaling": Variable(("input_scaling",), np.asarray(config.input_scalings), "1", "input scaling"),
        "balance": Variable(("balance",), np.asarray(config.balances), "1", "global balance"),
        "target": Variable(("target",), np.asarray(config.targets), "1", "mean target rate"),
        "heterogeneity": Variable(("heterogeneity",), np.asarray(config.heterogeneities), "1",
                                  "1/(a + b) of Beta(a, b)"),
        "seed": Variable(("seed",), np.arange(config.n_seeds), "1", "index of network and series"),
        "condition": Variable(("condition",), np.asarray(list(dynamics)), "1", "network of the second figure"),
        "degree": Variable(("degree",), 1 + np.arange(len(config.max_delays)), "1", "degree of the targets"),
    }
    return data, coords

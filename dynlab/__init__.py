"""dynlab: reservoir computing and recurrent neural dynamics in JAX.

A model is written once, as one pure step (:mod:`dynlab.protocol`); simulation, readouts, measures and analyses then
work on it, jitted and vmapped, on CPU, GPU and TPU. Public names load on first use, so importing costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "ESN": "dynlab.models.esn",
    "ESNParams": "dynlab.models.esn",
    "esn_from_arrays": "dynlab.models.esn",
    "GRU": "dynlab.models.gru",
    "LSTM": "dynlab.models.lstm",
    "RNN": "dynlab.models.rnn",
    "LeakyRNN": "dynlab.models.leaky_rnn",
    "LeakyFlow": "dynlab.models.leaky_rnn",
    "LeakyParams": "dynlab.models.leaky_rnn",
    "EIReservoir": "dynlab.models.ei_reservoir",
    "EIParams": "dynlab.models.ei_reservoir",
    "from_step": "dynlab.interop.functions",
    "from_torch": "dynlab.interop.torch",
    "Stack": "dynlab.combine",
    "Hold": "dynlab.combine",
    "Feedback": "dynlab.combine",
    "FeedbackParams": "dynlab.combine",
    "Euler": "dynlab.discretize",
    "ExpEuler": "dynlab.discretize",
    "FlowMap": "dynlab.discretize",
    "Run": "dynlab.simulation",
    "simulate": "dynlab.simulation",
    "PhaseMap": "dynlab.analysis.linearize",
    "phase_map": "dynlab.analysis.linearize",
    "trajectory": "dynlab.analysis.linearize",
    "jacobian": "dynlab.analysis.linearize",
    "input_jacobian": "dynlab.analysis.linearize",
    "FixedPoints": "dynlab.analysis.fixed_points",
    "fixed_points": "dynlab.analysis.fixed_points",
    "draw_starts": "dynlab.analysis.fixed_points",
    "rms_step": "dynlab.analysis.fixed_points",
    "Completeness": "dynlab.analysis.completeness",
    "PointSet": "dynlab.analysis.classify",
    "classify": "dynlab.analysis.classify",
    "Modes": "dynlab.analysis.modes",
    "modes": "dynlab.analysis.modes",
    "Lyapunov": "dynlab.analysis.lyapunov",
    "lyapunov": "dynlab.analysis.lyapunov",
    "kaplan_yorke": "dynlab.analysis.lyapunov",
    "ks_entropy": "dynlab.analysis.lyapunov",
    "TwoTrajectories": "dynlab.analysis.two_trajectories",
    "two_trajectory_exponent": "dynlab.analysis.two_trajectories",
    "EchoState": "dynlab.analysis.two_trajectories",
    "echo_state": "dynlab.analysis.two_trajectories",
    "Timescales": "dynlab.analysis.timescales",
    "timescales": "dynlab.analysis.timescales",
    "autocorrelation": "dynlab.analysis.autocorrelation",
    "fit_timescales": "dynlab.analysis.exponentials",
    "ExponentialFit": "dynlab.analysis.exponentials",
    "compare_exponentials": "dynlab.analysis.exponentials",
    "Comparison": "dynlab.analysis.exponentials",
    "lag_one_timescale": "dynlab.analysis.decay_estimates",
    "LagOneTimescale": "dynlab.analysis.decay_estimates",
    "integrated_timescale": "dynlab.analysis.decay_estimates",
    "crossing_timescale": "dynlab.analysis.decay_estimates",
    "AreaTimescale": "dynlab.analysis.decay_estimates",
    "eigenvalue_timescales": "dynlab.analysis.network_timescales",
    "EigenvalueTimescales": "dynlab.analysis.network_timescales",
    "parameter_timescales": "dynlab.analysis.network_timescales",
    "network_timescales": "dynlab.analysis.network_timescales",
    "NetworkTimescales": "dynlab.analysis.network_timescales",
    "information_processing_capacity": "dynlab.analysis.ipc",
    "InformationProcessingCapacity": "dynlab.analysis.ipc",
    "nonlinear_memory": "dynlab.analysis.ipc",
    "NonlinearMemory": "dynlab.analysis.ipc",
    "kernel_rank": "dynlab.analysis.separation",
    "generalisation_rank": "dynlab.analysis.separation",
    "StateRank": "dynlab.analysis.separation",
    "separation": "dynlab.analysis.separation",
    "Separation": "dynlab.analysis.separation",
    "PCA": "dynlab.analysis.geometry",
    "pca": "dynlab.analysis.geometry",
    "participation_ratio": "dynlab.analysis.geometry",
    "tangling": "dynlab.analysis.geometry",
    "Procrustes": "dynlab.analysis.similarity",
    "procrustes": "dynlab.analysis.similarity",
    "cka": "dynlab.analysis.similarity",
    "subspace_angles": "dynlab.analysis.similarity",
    "pca_dim": "dynlab.analysis.geometry",
    "ablate": "dynlab.analysis.perturb",
    "ablate_readout": "dynlab.analysis.perturb",
    "ablation_groups": "dynlab.analysis.perturb",
    "perturb_weights": "dynlab.analysis.perturb",
    "perturb_tau": "dynlab.analysis.perturb",
    "relative_accuracy": "dynlab.analysis.perturb",
    "half_damage": "dynlab.analysis.perturb",
    "streaming_accuracy": "dynlab.analysis.streaming",
    "Ablation": "dynlab.analysis.damage",
    "ablation": "dynlab.analysis.damage",
    "Perturbation": "dynlab.analysis.damage",
    "perturbation": "dynlab.analysis.damage",
    "forget_gate_timescale": "dynlab.analysis.gates_timescale",
    "Balance": "dynlab.analysis.balance",
    "balance": "dynlab.analysis.balance",
    "linearised_spectral_radius": "dynlab.analysis.balance",
    "firing_rates": "dynlab.analysis.activity",
    "rate_error": "dynlab.analysis.activity",
    "neuronal_entropy": "dynlab.analysis.activity",
    "saturated_fraction": "dynlab.analysis.activity",
    "silent_fraction": "dynlab.analysis.activity",
    "synchrony": "dynlab.analysis.activity",
    "MemoryCapacity": "dynlab.analysis.capacity",
    "memory_capacity": "dynlab.analysis.capacity",
    "ridge": "dynlab.readout.ridge",
    "Linear": "dynlab.readout.linear",
    "fit_readout": "dynlab.readout.stream",
    "Stream": "dynlab.readout.stream",
    "stream_init": "dynlab.readout.stream",
    "stream_update": "dynlab.readout.stream",
    "stream_solve": "dynlab.readout.stream",
    "RLS": "dynlab.readout.online",
    "Online": "dynlab.readout.online",
    "rls": "dynlab.readout.online",
    "rls_init": "dynlab.readout.online",
    "rls_step": "dynlab.readout.online",
    "lms": "dynlab.readout.online",
    "Force": "dynlab.readout.force",
    "force": "dynlab.readout.force",
    "Classifier": "dynlab.readout.classifier",
    "ridge_classifier": "dynlab.readout.classifier",
    "logistic": "dynlab.readout.classifier",
    "pool": "dynlab.readout.classifier",
    "generate": "dynlab.simulation",
}
_MODULES = (
    "analysis", "check", "combine", "data", "discretize", "interop", "keys", "metrics", "models", "plasticity", "plots",
    "protocol", "readout", "simulation", "sweep", "tasks", "train", "tree",
)

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"dynlab.{name}")
    raise AttributeError(f"module 'dynlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})

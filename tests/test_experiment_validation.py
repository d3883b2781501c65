"""Bad fields of forecast and memory_capacity: refused by name before anything is computed, exit code 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import _forecast_series, cli, forecast, memory_capacity

FORECAST = [
    ({"leak_rates": (1.5,)}, r"leak_rates must be finite and in \(0.0, 1.0\], got \(1.5,\)"),
    ({"leak_rates": (0.0,)}, r"leak_rates .*got \(0.0,\)"),
    ({"spectral_radii": (-0.1,)}, r"spectral_radii .*got \(-0.1,\)"),
    ({"spectral_radii": ()}, r"spectral_radii must hold at least one"),
    ({"input_scalings": (0.1, float("inf"))}, r"input_scalings must be finite"),
    ({"input_scalings": (0.1, 0.0)}, r"input_scalings"),
    ({"bias_scaling": -1.0}, r"bias_scaling .*got -1.0"),
    ({"penalties": (0.0,)}, r"penalties"),
    ({"threshold": float("nan")}, r"threshold"),
    ({"lorenz_exponent": 0.0}, r"lorenz_exponent"),
    ({"lorenz_exponent": 200.0}, r"lorenz_exponent = 200: the horizon of lorenz must be in \[1, .*got 0"),
    ({"mackey_glass_exponent": -1.0}, r"mackey_glass_exponent"),
    ({"lag_counts": (10, 101)}, r"lag_counts must be at most 100, the washout of sunspots_monthly"),
    ({"lag_counts": (10,)}, r"lag_counts must hold as many candidates"),
    ({"n_starts": 0}, r"n_starts must be at least 1, got 0"),
    ({"n_starts": 100_000}, r"n_starts .*in \[1, \d+\], got 100000"),
    ({"shrink": 0}, r"shrink must be at least 1, got 0"),
    ({"shrink": 30}, r"shrink = 30"),
    ({"systems": ("lorentz",)}, r"systems must be one of 'mackey_glass', 'lorenz', got 'lorentz'"),
    ({"systems": ("lorenz", "lorenz")}, r"systems must name each system once"),
]
CAPACITY = [
    ({"n_test": 2}, r"n_test must be at least 3, got 2"),
    ({"n_train": 1}, r"n_train must be at least 2, got 1"),
    ({"exact_samples": 2}, r"exact_samples must be at least 3, got 2"),
    ({"input_scaling": 0.0}, r"input_scaling"),
    ({"leak_rates": (1.5,)}, r"leak_rates"),
    ({"topologies": ("small_world",), "n_units": 8}, r"'small_world' cannot be drawn with n_units = 8: neighbours"),
    ({"topologies": ("cycle_jumps",), "n_units": 2}, r"'cycle_jumps' cannot be drawn with n_units = 2: jump"),
]


@pytest.mark.parametrize(
    ("module", "changes", "words"),
    [*((forecast, *case) for case in FORECAST), *((memory_capacity, *case) for case in CAPACITY)],
)
def test_bad_field_is_named(module, changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        module.validate(replace(module.Config.smoke(), **changes))


@pytest.mark.parametrize("module", [forecast, memory_capacity])
def test_own_configurations_are_valid(module) -> None:
    for config in (module.Config(), module.Config.smoke()):
        module.validate(config)


@pytest.mark.parametrize(
    "arguments",
    [
        ["forecast", "--smoke", "--leak-rates", "1.5"],
        ["memory_capacity", "--smoke", "--topologies", "small_world", "--n-units", "8"],
    ],
)
def test_command_line_ends_with_code_2(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_lorenz_truth_follows_float64() -> None:
    """Against NumPy in float64 with a quarter of the step, from the same sample, for eight Lyapunov times."""
    steps = round(8 / 0.9056 / 0.02)
    key = jax.random.split(jax.random.key(0), 2)
    with jax.enable_x64(True):  # the unrounded start
        task = forecast.Lorenz(length=1, max_step=_forecast_series.LORENZ_STEP)
        now = np.asarray(jax.vmap(task.series)(key))[:, 0].T
    truth = np.asarray(_forecast_series.lorenz_truth(key, steps))
    assert truth.dtype == np.dtype(jax.numpy.result_type(float))

    def field(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    h, rows = 0.000625, [now]
    for _ in range(steps - 1):
        for _ in range(32):
            k1 = field(now)
            k2 = field(now + h / 2 * k1)
            k3 = field(now + h / 2 * k2)
            now = now + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(now + h * k3))
        rows.append(now)
    assert np.max(np.abs(truth - np.stack(rows).transpose(2, 0, 1))) < 0.1

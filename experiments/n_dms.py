"""How long a delay can a network learn to bridge in delayed match to sample, with one head or with many?

The networks and curricula of n_parity, on another task: is the bit of N - 1 steps ago the bit of now? It needs memory
of one bit but no counting.

Khajehabdollahi et al., ICLR 2024, arXiv:2309.12927, and the results published with its code: with trained time
constants single-head networks reach N of 93 and above, multi-head networks 99 and above, within 1,000 epochs. The
default here is a short run to N = 12.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from experiments import cli, n_parity
from experiments.contract import Progress, Result, quiet

Array = jax.Array


@dataclass(frozen=True)
class Config(n_parity.Config):
    """What is run; every value can be set on the command line."""

    task: Literal["parity", "dms"] = "dms"
    """"dms" here."""

    @staticmethod
    def smoke() -> Config:
        """A small network, N up to 3: seconds."""
        return Config(n_units=32, max_n=3, n_networks=1, n_epochs=3, n_updates=60, n_tests=5, batch=64,
                      timescale_steps=1000, timescale_trials=2, repeats=2, damage=False)


validate = n_parity.validate


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train and analyse."""
    return n_parity.run(config, key, progress, folder)


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["n_dms", *sys.argv[1:]]))


if __name__ == "__main__":
    main()

"""How fast does a Continuous Thought Machine learn and think here, against the same machine in eager PyTorch?

Both sides have the sizes of the published parity runs (Darlow et al. 2025, arXiv:2505.05522): 1024 units, attention of
width 512 with 8 heads, 32 and 32 units paired semi-densely, private networks 16 wide, sequences of 64, batches of 64,
AdamW, the loss at two ticks of each sample. An update is forward, backward and the optimiser's step with the decays put
back into their range; "forward" is all ticks without a gradient. PyTorch computes as the published code does
(:mod:`experiments.bench.ctm_torch`); "lean" projects keys and values once and not each tick. Weights are the same:
before anything is timed all sides must give the same loss on the same batch, and the same after an update.

Sides run in turn, after one uncounted round (compilation); reported are ratios. Memory is what the compiled program
says that it needs besides its arguments. All run on the CPU, PyTorch with as many threads as cores. With ``--cores 1``
both sides are held to one core: on a busy machine two threads that wait for each other say more about the machine.

    python -m experiments.bench.ctm [--smoke] [--cores 2] [--rounds 5] [--ticks 10 25] [--history 5 10]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab import train
from dynlab.interop import ctm_from_torch
from dynlab.models.layers import parameter_count
from dynlab.models.thinking import think
from experiments.bench.timing import in_turn, ratio
from experiments.bench.train_vs_torch import hold_to

LEARNING_RATE = 1e-4
COLUMNS = ("T, M", "parameters", "update: times faster", "than lean", "with remat", "forward: times faster",
           "than lean", "update, MiB", "with remat, MiB", "difference of the losses")


@dataclass(frozen=True)
class Config:
    """What to time."""

    ticks: tuple[int, ...] = (10, 25)
    """Ticks of each row."""
    history: tuple[int, ...] = (5, 10)
    """Length of the history, for each of them."""
    n_units: int = 1024
    """Units."""
    n_attention: int = 512
    """Width of the attention and of the tokens."""
    n_heads: int = 8
    """Heads."""
    n_pairs: int = 32
    """Units paired for each of the two synchronizations."""
    n_hidden: int = 16
    """Width of the private networks."""
    length: int = 64
    """Length of the sequences."""
    batch: int = 64
    """Sequences in a batch."""
    rounds: int = 5
    """Rounds in turn; medians of ratios are reported."""
    cores: int = 2
    """Hold the process to so many cores; 0 for all."""
    seed: int = 0
    """Of weights and sequences."""
    show_seconds: bool = False
    """Print the median seconds of each side too."""
    smoke: bool = False
    """A small machine, one round: checks that it runs, measures nothing."""


class Ours:
    """The library's side, from the weights of a PyTorch machine."""

    def __init__(self, state_dict: Any, config: Config, n_ticks: int) -> None:
        import optax

        self.model, self.params = ctm_from_torch(state_dict, n_heads=config.n_heads, n_tokens=config.length)
        self.n_ticks, self.optimiser = n_ticks, optax.adamw(LEARNING_RATE, weight_decay=0.0)

    def loss(self, free: Any, fixed: Any, tokens: jax.Array, targets: jax.Array, remat: int | None) -> jax.Array:
        """Of a batch; `free` are the floating leaves of the parameters and `fixed` the others."""
        thought = think(self.model, _joined(free, fixed), tokens, self.n_ticks, remat=remat)
        return train.two_ticks(thought.logits, thought.certainty, targets).loss

    def compiled(self, tokens: Any, targets: Any, remat: int | None) -> tuple[Callable[[], jax.Array], int]:
        """A call that makes one update and returns the loss before it, and the bytes that an update needs."""
        import optax

        # copies: an update gives the memory of what it gets to what it returns
        free, fixed = _parted(jax.tree.map(jnp.array, self.params))

        @partial(jax.jit, donate_argnums=(0, 1))
        def update(free: Any, kept: Any, fixed: Any, tokens: Any, targets: Any) -> tuple[Any, Any, jax.Array]:
            loss, slope = jax.value_and_grad(self.loss)(free, fixed, tokens, targets, remat)
            change, kept = self.optimiser.update(slope, kept, free)
            free = _parted(self.model.project(_joined(optax.apply_updates(free, change), fixed)))[0]
            return free, kept, loss

        kept = jax.jit(self.optimiser.init)(free)
        program = update.lower(free, kept, fixed, tokens, targets).compile()
        analysis: Any = program.memory_analysis()
        held = [free, kept]

        def call() -> jax.Array:
            held[0], held[1], loss = program(held[0], held[1], fixed, tokens, targets)
            return loss

        return call, int(analysis.temp_size_in_bytes)


def _parted(params: Any) -> tuple[Any, Any]:
    """Floating leaves, and the others, with None in the other's place."""
    floats = jax.tree.map(lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating), params)
    return (jax.tree.map(lambda leaf, yes: leaf if yes else None, params, floats),
            jax.tree.map(lambda leaf, yes: None if yes else leaf, params, floats))


def _joined(free: Any, fixed: Any) -> Any:
    """The parameters of the two parts."""
    return jax.tree.map(lambda a, b: b if a is None else a, free, fixed, is_leaf=lambda leaf: leaf is None)


class Theirs:
    """A PyTorch machine on one batch."""

    def __init__(self, config: Config, n_ticks: int, n_history: int, lean: bool, tokens: Any, targets: Any) -> None:
        import torch

        from experiments.bench import ctm_torch

        self.learn_once = ctm_torch.learn
        self.machine = ctm_torch.ThoughtMachine(ctm_torch.Sizes(
            n_ticks=n_ticks, n_units=config.n_units, n_attention=config.n_attention, n_heads=config.n_heads,
            n_out=config.n_pairs, n_action=config.n_pairs, n_history=n_history, n_hidden=config.n_hidden,
            n_outputs=(config.length, 2), pairing="random", n_inputs=config.n_attention), config.seed, lean)
        self.optimiser = torch.optim.AdamW(self.machine.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
        self.tokens, self.targets = torch.from_numpy(tokens), torch.from_numpy(targets)
        self.no_gradient = torch.no_grad

    def think(self) -> Any:
        """Logits, without a gradient."""
        with self.no_gradient():
            return self.machine(self.tokens).logits

    def learn(self) -> float:
        """An update; the loss before it."""
        return self.learn_once(self.machine, self.optimiser, self.tokens, self.targets)


def compare(config: Config, n_ticks: int, n_history: int) -> tuple[list[str], dict[str, list[float]]]:
    """One row of the table, and the seconds."""
    rng = np.random.default_rng(config.seed)
    tokens = rng.integers(0, 2, size=(config.batch, config.length))
    targets = np.cumsum(1 - tokens, axis=1) % 2  # token 0 is -1
    published, lean = (Theirs(config, n_ticks, n_history, which, tokens, targets) for which in (False, True))
    ours = Ours(published.machine.state_dict(), config, n_ticks)
    pieces = isqrt(n_ticks) if n_ticks >= 25 else 1
    (plain, needed), (again, needed_again) = (ours.compiled(tokens, targets, remat) for remat in (None, pieces))
    sides = (published.learn, lean.learn, plain, again)
    losses = np.array([[float(side()) for side in sides] for _ in range(2)])  # before and after an update
    apart = np.abs(losses - losses[:, :1]).max()
    if not apart < 1e-4:
        raise RuntimeError(f"the sides must give the same losses, got {losses}")
    params = jax.tree.map(jnp.array, ours.params)
    seconds = in_turn({
        "published": published.learn, "lean": lean.learn, "ours": plain, "remat": again,
        "published, forward": published.think, "lean, forward": lean.think,
        "ours, forward": lambda: think(ours.model, params, tokens, n_ticks).logits,
    }, config.rounds)
    pairs = [("published", "ours"), ("lean", "ours"), ("published", "remat"), ("published, forward", "ours, forward"),
             ("lean, forward", "ours, forward")]
    row = [f"{n_ticks}, {n_history}", f"{parameter_count(ours.params):,}",
           *(f"{ratio(seconds, *pair):.2f}" for pair in pairs),
           *(f"{size / 2**20:.0f}" for size in (needed, needed_again)), f"{apart:.0e}"]
    return row, seconds


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, ticks=(3,), history=(2,), n_units=32, n_attention=8, n_heads=2, n_pairs=4,
                         n_hidden=2, length=6, batch=4, rounds=1)
    if config.cores:
        hold_to(config.cores)
    table = Table(title=f"{config.n_units} units, batch {config.batch}, sequences of {config.length} (CPU, "
                        f"{config.cores or 'all'} cores)")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    console = Console(width=170)
    for n_ticks, n_history in zip(config.ticks, config.history, strict=True):
        row, seconds = compare(config, n_ticks, n_history)
        table.add_row(*row)
        if config.show_seconds:
            console.print({name: round(median(values), 3) for name, values in seconds.items()})
    console.print(table)


if __name__ == "__main__":
    main()

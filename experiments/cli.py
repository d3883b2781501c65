"""The command line shared by all experiments.

``python -m experiments`` lists them; ``python -m experiments NAME [--smoke] [--config FILE] [--out DIR]
[--seed S] [--FIELD VALUE ...]`` runs one, ``--sweep FIELD=START:STOP:N`` runs it for every value of a field. Exit code
0: the run is complete, whether or not its claims hold; 2: wrong arguments, nothing was computed; 130: interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from rich.console import Console

from experiments import catalogue, config, contract, report, store, sweeping

RESERVED = ("smoke", "config", "out", "seed", "sweep")


class UsageError(Exception):
    """A mistake in the arguments: printed without a traceback, exit code 2."""


@dataclasses.dataclass(frozen=True)
class Order:
    """A command line, read."""

    config: Any
    out: Path
    seed: int
    sweep: tuple[sweeping.Axis, ...] = ()


def main(argv: Sequence[str] | None = None, folder: Path = catalogue.FOLDER) -> int:
    """List the experiments of a folder or run one; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console, errors = report.console(sys.stdout), report.console(sys.stderr)
    if not arguments or arguments[0] in ("-h", "--help"):
        report.print_catalogue(console, catalogue.entries(folder))
        return 0
    try:
        entry = catalogue.find(arguments[0], folder)
    except LookupError as error:
        errors.print(f"error: {error.args[0]}", markup=False, highlight=False, soft_wrap=True)
        return 2
    try:
        module = catalogue.load(entry)
        order = parse(entry.name, module, arguments[1:])
        execute(entry, module, order, console)
    except UsageError as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted: the run is not complete and has no summary.json", markup=False, highlight=False)
        return 130
    return 0


def parse(name: str, module: ModuleType, arguments: Sequence[str]) -> Order:
    """Read the options: the base is ``Config()``, ``Config.smoke()`` or a config.json; flags override its fields."""
    import tyro

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--smoke", action="store_true")
    first.add_argument("--config", type=Path)
    first.add_argument("--sweep", action="append", default=[])
    early, _ = first.parse_known_args([item for item in arguments if item not in ("-h", "--help")])
    if early.smoke and early.config:
        raise UsageError("--smoke and --config exclude each other: each says which values to start from")
    seed = 0
    base = module.Config.smoke() if early.smoke else module.Config()
    if early.config:
        try:
            base, seed = config.load(early.config, name, module.Config)
        except ValueError as error:
            raise UsageError(str(error)) from error
    clash = [item.name for item in dataclasses.fields(base) if item.name in RESERVED]
    if clash:
        raise TypeError(f"Config of {name} must not have fields named {', '.join(clash)}: the command line owns them")
    command = _command(module.Config, base, seed, Path("runs") / (f"{name}-smoke" if early.smoke else name))
    read: Any = tyro.cli(
        command, args=list(arguments), prog=f"python -m experiments {name}", description=module.__doc__
    )
    try:
        axes = tuple(sweeping.read(text, read.fields) for text in early.sweep)
        sweeping.check_distinct(axes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Order(read.fields, read.out, read.seed, axes)


def _command(config_type: type, base: Any, seed: int, out: Path) -> type:
    """The dataclass that tyro reads: the experiment's own fields without a prefix, and the shared options."""
    from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, UseAppendAction, arg

    options: list[tuple[str, Any, Any]] = [
        ("fields", Annotated[config_type, OmitArgPrefixes], base),
        ("smoke", Annotated[FlagCreatePairsOff[bool], arg(help="start from the small config, seconds")], False),
        (
            "config",
            Annotated[Path | None, arg(help="start from the config.json of a run", metavar="FILE")],
            None,
        ),
        ("out", Annotated[Path, arg(help="folder for the results", metavar="DIR")], out),
        ("seed", Annotated[int, arg(help="seed of the run's random key")], seed),
        (
            "sweep",
            Annotated[UseAppendAction[tuple[str, ...]], arg(help=sweeping.HELP, metavar="FIELD=START:STOP:N")],
            (),
        ),
    ]
    made = [(name, kind, dataclasses.field(default=default)) for name, kind, default in options]
    return dataclasses.make_dataclass("Command", made, frozen=True)


def execute(entry: catalogue.Entry, module: ModuleType, order: Order, console: Console) -> contract.Result:
    """Check everything that can be checked, compute, print, write the folder."""
    missing = store.missing_extras()
    if missing:
        raise UsageError(missing)
    if not 0 <= order.seed < 2**32:
        raise UsageError(f"--seed must be in [0, 4294967295], got {order.seed}")
    if hasattr(module, "validate"):
        try:
            for each in sweeping.configs(order.config, order.sweep):
                module.validate(each)
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from error
    try:
        store.prepare(order.out)
    except OSError as error:
        raise UsageError(f"cannot write into --out {order.out}: {error.strerror}") from error

    import jax

    console.print(entry.question, markup=False, highlight=False)
    started = time.perf_counter()
    reporter = report.Reporter(console)
    if order.sweep:
        result = sweeping.run(module, entry.name, order.config, order.sweep, order.seed, order.out, reporter)
    else:
        more = {}
        if "folder" in inspect.signature(module.run).parameters:
            if importlib.util.find_spec("orbax") is None:
                console.print("cannot be resumed when interrupted: pip install 'dynlab[checkpoints]'", markup=False)
            else:
                more = {"folder": order.out / "checkpoint"}
        result = module.run(order.config, jax.random.key(order.seed), reporter, **more)
    seconds = time.perf_counter() - started
    stored = {"experiment": entry.name, "seed": order.seed, "config": order.config}
    if order.sweep:
        stored["sweep"] = {axis.field: axis.values for axis in order.sweep}
    images = store.write(order.out, result, stored, store.provenance(order.seed, seconds))
    for table in result.tables:
        report.print_table(console, table)
    report.print_claims(console, result.claims)
    lines = [f"{seconds:.1f} s; results in {order.out}", *(f"plot: {image}" for image in images), result.headline]
    for line in lines:
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return result

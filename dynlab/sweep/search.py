"""Search where a grid is too large: Optuna proposes batches of members, each batch is one vmapped call.

Needs the extra ``search``. Several processes may share a study through its storage: a journal file (also on a shared
disk) or SQLite (one machine). Trials of a worker that died are failed and queued again by the next worker that looks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynlab import check
from dynlab.sweep import program, result
from dynlab.sweep.grid import points, read_bounds

Array = jax.Array
_POLL = 0.2  # seconds between two looks at a study whose last trials run elsewhere
_WORKER, _ALIVE, _AGAIN = "dynlab:worker", "dynlab:alive", "dynlab:again"


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: knob values of the best trial. value: its mean score.
        trials: finished trials as knob name -> (trials,) array, with "value" (NaN where failed).
        requeued: trials of dead workers that this call failed and queued again.
    """

    best: Mapping[str, float]
    value: float
    trials: Mapping[str, np.ndarray]
    requeued: int


def search(
    fn: Callable[[Any, Array], Any], model: Any, key: Array, *, space: Mapping[str, Any], n_trials: int,
    batch: int = 32, seeds: int = 1, output: str = "result", direction: str = "minimize",
    storage: str | os.PathLike[str] | None = None, study: str = "dynlab", sampler: str = "tpe", sampler_seed: int = 0,
    lease: float = 600.0,
) -> SearchResult:
    """Optimise the mean over seeds of one output of ``fn(model, key)`` over a box of knobs.

    Every batch is one call of one compiled program: `batch` settings as lanes inside each seed.

    Args:
        fn: as in :func:`sweep`. output: which scalar output to optimise ("result" when fn returns a bare number).
        space: knob -> (low, high) or (low, high, "log").
        n_trials: finished trials, failed ones counted, that the study should hold in the end, those of other workers
            and of earlier calls included.
        batch: trials asked for, computed and told together. seeds: every setting runs at ``fold_in(key, 0 ... )``.
        storage: None (memory), a path (journal file) or "sqlite:///FILE". study: its name in the storage.
        sampler: "tpe" (with constant liar, so that a batch spreads out) or "random". sampler_seed: workers that share
            a study need different ones.
        lease: seconds without a sign of life after which a worker on another machine counts as dead; longer than a
            batch takes. Workers on this machine are looked up by their process.

    Raises:
        ValueError, TypeError: bad bounds, unknown knob, output or option; RuntimeError: every trial failed.
    """
    box = {name: read_bounds(name, bounds) for name, bounds in space.items()}
    corners = points(model, **{name: [low, high] for name, (low, high, _) in box.items()})  # refuses unknown names
    if corners.static:
        raise ValueError(f"space: {corners.static[0]} is static, its values need programs of their own; use sweep")
    check.key("key", key)
    for name, value in (("n_trials", n_trials), ("batch", batch), ("seeds", seeds)):
        check.integer(name, value, 1)
    check.number("lease", lease, 0.0, low_open=True)
    check.choice("direction", direction, ("minimize", "maximize"))
    check.choice("sampler", sampler, ("tpe", "random"))
    evaluate = _evaluator(fn, model, key, tuple(box), batch, seeds, output)
    held = _study(storage, study, direction, sampler, sampler_seed)
    me, requeued = _worker(), 0
    while True:
        requeued += recover(held, me, lease)
        finished, running = _counts(held)
        if finished >= n_trials:
            break
        left = n_trials - finished - running
        if left <= 0:  # the others are at it; should one die, its trials come back
            time.sleep(_POLL)
            continue
        trials = _within(held, [_ask(held, box, me) for _ in range(min(batch, left))], n_trials)
        if not trials:
            continue
        scores = evaluate({name: np.asarray([t.params[name] for t in trials]) for name in box})
        for trial, score in zip(trials, scores, strict=False):
            _tell(held, trial.number, float(score))
    return _result(held, tuple(box), requeued)


def _evaluator(
    fn: Any, model: Any, key: Array, names: tuple[str, ...], batch: int, seeds: int, output: str
) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Scores of up to `batch` settings, (settings,): NaN where any seed gave none."""
    root = np.asarray(jax.random.key_data(key))
    base = program.concrete(model, {})
    design = points(model, **{name: [getattr(model, name)] for name in names})
    outputs = result.outputs_of(program.result_shapes(fn, base, names, root), design)
    found = [i for i, o in enumerate(outputs) if o.name == output]
    if not found or outputs[found[0]].shape:
        scalars = ", ".join(o.name for o in outputs if not o.shape)
        raise ValueError(f"output must name a scalar that fn returns ({scalars or 'it returns none'}), got {output!r}")
    compiled = program.Program(fn, False, program.mesh_of(jax.local_devices()[:1]), base, root, batch, 1, names)

    def evaluate(knobs: Mapping[str, np.ndarray]) -> np.ndarray:
        n = len(next(iter(knobs.values())))
        pick = np.minimum(np.arange(batch), n - 1)
        padded = {name: v[pick][None] for name, v in knobs.items()}
        scores = []
        for seed in range(seeds):
            leaves = jax.tree.leaves(compiled(padded, np.asarray([[seed]])))
            scores.append(np.asarray(leaves[found[0]], float)[0, 0, :n])
        mean = np.mean(scores, axis=0)
        return np.where(np.isfinite(mean), mean, np.nan)

    return evaluate


def _study(storage: Any, name: str, direction: Any, sampler: str, seed: int) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("search needs Optuna: pip install 'dynlab[search]'") from error
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if storage is not None and not str(storage).startswith("sqlite:"):
        path = Path(storage)
        if not path.parent.is_dir():
            raise ValueError(f"storage must lie in a folder that exists, got {str(storage)!r}")
        storage = JournalStorage(JournalFileBackend(str(path)))
    # a batch must differ from the trials of this batch, and of other workers, that still run
    made = (optuna.samplers.TPESampler(constant_liar=True, multivariate=True, seed=seed)
            if sampler == "tpe" else optuna.samplers.RandomSampler(seed=seed))
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(storage=storage, study_name=name, sampler=made, direction=direction,
                                   load_if_exists=True)
    finally:
        optuna.logging.set_verbosity(level)


def _ask(study: Any, box: Mapping[str, tuple[float, float, bool]], me: str) -> Any:
    trial = study.ask()
    trial.set_user_attr(_WORKER, me)
    trial.set_user_attr(_ALIVE, time.time())
    for name, (low, high, log) in box.items():
        trial.suggest_float(name, low, high, log=log)
    return trial


def _within(study: Any, trials: list[Any], n_trials: int) -> list[Any]:
    """Give back the trials that go beyond the budget because another worker asked at the same moment.

    Trial numbers are unique in a study: every worker sees the same ones as surplus.
    """
    from optuna.trial import TrialState

    held = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING))
    numbers = [trial.number for trial in held if _AGAIN not in trial.user_attrs]
    kept = []
    for trial in trials:
        if sum(number < trial.number for number in numbers) < n_trials:
            kept.append(trial)
        else:
            trial.set_user_attr(_AGAIN, True)
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return kept


def _tell(study: Any, number: int, score: float) -> None:
    """Report a score; NaN fails the trial. One that another worker took away meanwhile is left alone."""
    from optuna.trial import TrialState

    failed = not np.isfinite(score)
    study.tell(number, None if failed else score, state=TrialState.FAIL if failed else TrialState.COMPLETE,
               skip_if_finished=True)


def _counts(study: Any) -> tuple[int, int]:
    """Trials that are complete or failed for good (not those that were queued again), and those that run."""
    from optuna.trial import TrialState

    held = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING))
    running = sum(1 for trial in held if trial.state == TrialState.RUNNING)
    return sum(1 for trial in held if _AGAIN not in trial.user_attrs and trial.state.is_finished()), running


def _worker() -> str:
    """Machine (hashed), process and its start: a process number that comes again is another worker."""
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:12]
    return f"{machine}:{os.getpid()}:{_started(os.getpid())}"


def _started(process: int) -> str | None:
    """When a process of this machine was started, "" where the system does not say; None when it is gone."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] == "Z" else fields[19]  # a zombie has ended


def _is_dead(worker: str, seen: float, me: str, lease: float) -> bool:
    machine, process, began = worker.split(":")
    if machine == me.split(":")[0]:
        now = _started(int(process))
        return now is None or (now != "" and now != began)
    return time.time() - seen > lease


def recover(study: Any, me: str, lease: float) -> int:
    """Fail the running trials of dead workers and queue their settings again; returns how many."""
    import optuna
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    count = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(_WORKER)
        seen = trial.user_attrs.get(_ALIVE) or (trial.datetime_start.timestamp() if trial.datetime_start else 0.0)
        if worker == me or (worker is None and time.time() - seen <= lease):
            continue
        if worker is not None and not _is_dead(worker, seen, me, lease):
            continue
        try:
            optuna.trial.Trial(study, trial._trial_id).set_user_attr(_AGAIN, True)
            study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):  # another worker was first
            continue
        if trial.params:
            study.enqueue_trial(trial.params)
        count += 1
    return count


def _result(study: Any, names: Sequence[str], requeued: int) -> SearchResult:
    from optuna.trial import TrialState

    done = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
            if _AGAIN not in trial.user_attrs]
    table = {name: np.asarray([trial.params.get(name, np.nan) for trial in done]) for name in names}
    table["value"] = np.asarray([np.nan if trial.value is None else trial.value for trial in done])
    if not np.isfinite(table["value"]).any():
        raise RuntimeError(f"every one of the {len(done)} trials failed: fn gave no finite score in this space")
    best = study.best_trial
    return SearchResult({name: best.params[name] for name in names}, float(best.value), table, requeued)

"""Training that survives being killed: a folder with the last epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynlab import check


class Checkpoint:
    """The progress of a training run on disk, by orbax; give it to :func:`dynlab.train.fit`.

    An epoch is written completely before it is reported; a run that was killed goes on with the next epoch and gives
    the same numbers to the last bit on the same device. What is kept: trained values, the optimiser's state, the
    stage, and the whole history.

    Args:
        folder: made if it is not there; one run a folder. keep: how many epochs stay on disk.
        identity: anything JSON can hold that says which run this is (a configuration); a folder with another
            is refused.

    Raises:
        ImportError: orbax is not installed (``pip install 'dynlab[checkpoints]'``).
        ValueError: on load, when the folder holds a run of another key or of other parameters.
    """

    def __init__(self, folder: str | Path, keep: int = 2, identity: Any = None) -> None:
        check.integer("keep", keep, 1)
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError("orbax-checkpoint is not installed: pip install 'dynlab[checkpoints]'") from error
        self.folder = Path(folder).resolve()
        self._identity = json.loads(json.dumps(identity))
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._args = ocp.args

    @property
    def epochs(self) -> int:
        """Epochs that the folder holds."""
        return self._manager.latest_step() or 0

    def save(self, progress: Any, records: list[Any], key_data: Any) -> None:
        """Write the state after an epoch; returns when it is on disk."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(progress)]
        history = {name: np.stack([row[name] for _, row in records]) for name in records[0][1]}
        item = {"leaves": leaves, "loss": np.stack([loss for loss, _ in records]), "history": history}
        about = {"key": np.asarray(key_data).tolist(), "shapes": _shapes(progress), "history": list(history),
                 "identity": self._identity}
        self._manager.save(len(records), args=self._args.Composite(
            state=self._args.StandardSave(item), about=self._args.JsonSave(about)), force=True)
        self._manager.wait_until_finished()

    def load(self, start: Any, key_data: Any) -> tuple[Any, list[Any]]:
        """Progress shaped like `start`, and the records of the epochs done; `start` and none for an empty folder."""
        if not self.epochs:
            return start, []
        about = self._manager.restore(self.epochs, args=self._args.Composite(about=self._args.JsonRestore()))["about"]
        if about["key"] != np.asarray(key_data).tolist():
            raise ValueError(f"checkpoint {self.folder} holds a run with another key; choose another folder")
        if about["shapes"] != json.loads(json.dumps(_shapes(start))):
            raise ValueError(f"checkpoint {self.folder} holds a run with other parameters, optimiser or stage; choose "
                             "another folder")
        if about["identity"] != self._identity:
            raise ValueError(f"checkpoint {self.folder} holds a run of {about['identity']}, not of {self._identity}; "
                             "choose another folder")
        stored = self._manager.restore(self.epochs, args=self._args.Composite(state=self._args.StandardRestore()))
        item = stored["state"]
        progress = jax.tree.unflatten(jax.tree.structure(start), [jax.numpy.asarray(leaf) for leaf in item["leaves"]])
        loss = np.asarray(item["loss"])
        rows = {name: np.asarray(item["history"][name]) for name in about["history"]}
        return progress, [(loss[i], {name: row[i] for name, row in rows.items()}) for i in range(len(loss))]

    def close(self) -> None:
        """Release the folder."""
        self._manager.close()


def _shapes(progress: Any) -> list[Any]:
    return [[jax.tree_util.keystr(path), list(np.shape(leaf)), str(np.asarray(leaf).dtype)]
            for path, leaf in jax.tree.leaves_with_path(progress)]

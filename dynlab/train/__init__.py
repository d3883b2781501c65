"""Gradient training: constraints, losses, backpropagation through time, curricula, checkpoints."""

from dynlab.train.checkpoint import Checkpoint
from dynlab.train.constraints import Trainable, fixed, free, interval, masked, positive, projected, signed, trainable
from dynlab.train.curriculum import Curriculum, Stage
from dynlab.train.fit import Fit, NotFiniteError, Progress, fit
from dynlab.train.losses import head_losses, squared_error
from dynlab.train.optimisers import exponentiated_gradient, quantile_clip
from dynlab.train.precision import MixedPrecision, mixed_precision
from dynlab.train.ticks import TwoTicks, two_ticks
from dynlab.train.unroll import all_states, common_key, last_state, workspace

__all__ = [
    "Checkpoint", "Curriculum", "Fit", "MixedPrecision", "NotFiniteError", "Progress", "Stage", "Trainable", "TwoTicks",
    "all_states", "common_key", "exponentiated_gradient", "fit", "fixed", "free", "head_losses", "interval",
    "last_state", "masked", "mixed_precision", "positive", "projected", "quantile_clip", "signed", "squared_error",
    "trainable", "two_ticks", "workspace",
]

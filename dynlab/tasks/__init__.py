"""Tasks: pure generators of trials. ``task.sample(key)`` gives a :class:`Trial`; systems also have ``series(key)``."""

from dynlab.tasks.base import CognitiveTrial, Trial, integrate, rk4_step, weighted_squares
from dynlab.tasks.context_decision import ContextDecision
from dynlab.tasks.cumulative_parity import CumulativeParity, Strings
from dynlab.tasks.delay import Delay
from dynlab.tasks.encoders import (
    bernoulli_encode,
    delta_encode,
    latency_encode,
    markov_entropy_rate,
    markov_spikes,
    nalsm_rates,
    nalsm_scale,
    poisson_encode,
    population_encode,
)
from dynlab.tasks.events import Events, events_to_counts, events_to_spikes
from dynlab.tasks.flip_flop import FlipFlop
from dynlab.tasks.henon import Henon, henon_map
from dynlab.tasks.lorenz import Lorenz, lorenz_field
from dynlab.tasks.mackey_glass import MackeyGlass, mackey_glass_field, mackey_glass_solve
from dynlab.tasks.match_to_sample import MatchToSample
from dynlab.tasks.mazes import Maze, Mazes, leading_correct, route_mask
from dynlab.tasks.narma import Narma, narma_step
from dynlab.tasks.parity import NDMS, Bits, NParity
from dynlab.tasks.perceptual_decision import PerceptualDecision
from dynlab.tasks.recall import Recall
from dynlab.tasks.rossler import Rossler, rossler_field
from dynlab.tasks.sine import Sine
from dynlab.tasks.sorting import Sorting, Unsorted, ctc_decode, ctc_loss
from dynlab.tasks.speech import hz_to_mel, log_compress, mel_filters, mel_spectrogram, mel_to_hz
from dynlab.tasks.yang import Yang

__all__ = [
    "NDMS",
    "Bits",
    "CognitiveTrial",
    "ContextDecision",
    "CumulativeParity",
    "Delay",
    "Events",
    "FlipFlop",
    "Henon",
    "Lorenz",
    "MackeyGlass",
    "MatchToSample",
    "Maze",
    "Mazes",
    "NParity",
    "Narma",
    "PerceptualDecision",
    "Recall",
    "Rossler",
    "Sine",
    "Sorting",
    "Strings",
    "Trial",
    "Unsorted",
    "Yang",
    "bernoulli_encode",
    "ctc_decode",
    "ctc_loss",
    "delta_encode",
    "events_to_counts",
    "events_to_spikes",
    "henon_map",
    "hz_to_mel",
    "integrate",
    "latency_encode",
    "leading_correct",
    "log_compress",
    "lorenz_field",
    "mackey_glass_field",
    "mackey_glass_solve",
    "markov_entropy_rate",
    "markov_spikes",
    "mel_filters",
    "mel_spectrogram",
    "mel_to_hz",
    "nalsm_rates",
    "nalsm_scale",
    "narma_step",
    "poisson_encode",
    "population_encode",
    "rk4_step",
    "rossler_field",
    "route_mask",
    "weighted_squares",
]

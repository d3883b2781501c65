"""Figures of the usual results (optional extra: ``pip install 'dynlab[plots]'``).

Each function draws on the axes it is given, or makes a figure of its own, and returns the axes. matplotlib is
imported inside the functions; no global setting of it is touched. Colours are those of Okabe and Ito (2008), which
stay apart under the common colour deficiencies; series also differ in marker or line style. All take plain arrays.
"""

from dynlab.plots.dynamics import (
    autocorrelation_fit,
    capacity_by_degree,
    degree_shades,
    eigenvalue_plane,
    fixed_point_map,
    spectrum,
)
from dynlab.plots.results import attractor, capacity_lines, forecast, heat_map, memory_curve
from dynlab.plots.spikes import branching_curve, membranes, raster
from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS
from dynlab.plots.thoughts import (
    attention_heads,
    attention_map,
    early_exit,
    position_accuracy,
    reliability_diagram,
    tick_curves,
    unit_traces,
)
from dynlab.plots.training import learning_curve

__all__ = [
    "COLORS", "LABEL_SIZE", "MARKERS", "attention_heads", "attention_map", "attractor", "autocorrelation_fit",
    "branching_curve", "capacity_by_degree", "capacity_lines", "degree_shades", "early_exit", "eigenvalue_plane",
    "fixed_point_map", "forecast", "heat_map", "learning_curve", "membranes", "memory_curve", "position_accuracy",
    "raster", "reliability_diagram", "spectrum", "tick_curves", "unit_traces",
]

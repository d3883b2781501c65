"""Tasks: pure generators of trials. ``task.sample(key)`` gives a :class:`Trial`; systems also have ``series(key)``."""

from dynlab.tasks.base import Trial, integrate, rk4_step
from dynlab.tasks.delay import Delay
from dynlab.tasks.flip_flop import FlipFlop
from dynlab.tasks.henon import Henon, henon_map
from dynlab.tasks.lorenz import Lorenz, lorenz_field
from dynlab.tasks.mackey_glass import MackeyGlass, mackey_glass_field, mackey_glass_solve
from dynlab.tasks.narma import Narma, narma_step
from dynlab.tasks.rossler import Rossler, rossler_field

__all__ = [
    "Delay",
    "FlipFlop",
    "Henon",
    "Lorenz",
    "MackeyGlass",
    "Narma",
    "Rossler",
    "Trial",
    "henon_map",
    "integrate",
    "lorenz_field",
    "mackey_glass_field",
    "mackey_glass_solve",
    "narma_step",
    "rk4_step",
    "rossler_field",
]

"""Networks from elsewhere: a step function of your own, weights from PyTorch, Flax, reservoirpy or NumPy.

Each function returns ``(model, params)``, which :func:`dynlab.simulate` and every analysis take like the library's own.
None of the other libraries is imported: weights are read from mappings of arrays, from a file, or by attribute.
"""

from dynlab.interop.arrays import rnn_from_arrays
from dynlab.interop.ctm import ctm_from_torch
from dynlab.interop.functions import FunctionMap, from_step
from dynlab.interop.linen import from_linen
from dynlab.interop.reservoirpy import RESERVOIRPY_NAMES, esn_from_reservoirpy, esn_from_reservoirpy_names
from dynlab.interop.torch import from_torch, linear_from_torch
from dynlab.interop.torch_file import Foreign, read_torch_file

__all__ = [
    "RESERVOIRPY_NAMES",
    "Foreign",
    "FunctionMap",
    "ctm_from_torch",
    "esn_from_reservoirpy",
    "esn_from_reservoirpy_names",
    "from_linen",
    "from_step",
    "from_torch",
    "linear_from_torch",
    "read_torch_file",
    "rnn_from_arrays",
]

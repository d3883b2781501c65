"""The liquid of Maass, Natschlaeger and Markram with 135 units, as far as the fields of :class:`LSM` carry it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.keys import named
from dynlab.models.lattice import PAIRS, Lattice
from dynlab.models.lsm import LSM

Array = jax.Array

TAU, TAU_SYNAPSE = 30.0, {"E": 3.0, "I": 6.0}  # ms; of a synapse by its source
SIZES = dict(zip(PAIRS, (30.0, 60.0, 19.0, 19.0), strict=True))  # nA of a fully used synapse, over 1 MOhm: mV
USE = dict(zip(PAIRS, (0.5, 0.05, 0.25, 0.32), strict=True))  # efficacy u R of a rested synapse
AT_20_HZ = dict(zip(PAIRS, (0.0433, 0.2136, 0.0649, 0.2170), strict=True))  # at the tenth spike of a 20 Hz train
EFFICACIES = {"rested": USE, "20 Hz": AT_20_HZ}


@dataclasses.dataclass(frozen=True)
class ClassicInput:
    """Every input channel reaches every unit with probability `share`; positive weights by the type of the target.

    Attributes:
        share: probability. excitatory, inhibitory: weight to an excitatory or inhibitory unit, mV a spike.
        n_excitatory: units of the liquid that are excitatory, the first ones.
    """

    share: float = 0.3
    excitatory: float = 1.8
    inhibitory: float = 0.9
    n_excitatory: int = 108

    def matrix(self, key: Array, n_inputs: int, n_units: int) -> Array:
        """Weights (n_units, n_inputs); also under ``jit`` and ``vmap``."""
        check.number("share", self.share, 0.0, 1.0, low_open=True)
        there = jax.random.bernoulli(named(key, "pairs"), self.share, (n_units, n_inputs))
        size = jnp.where(jnp.arange(n_units) < self.n_excitatory, self.excitatory, self.inhibitory)
        return there * size[:, None].astype(check.default_float())


def maass135(n_inputs: int = 1, *, dt: float = 0.5, efficacy: str = "20 Hz", **fields: Any) -> LSM:
    r"""The liquid of 135 units of Maass, Natschlaeger and Markram (2002, doi:10.1162/089976602760407955; chapter of
    2004), a preset of :class:`LSM`.

    A lattice of 15 x 3 x 3 sites, 20 % of the units inhibitory, connected with lambda = 2 and C = 0.3 (EE), 0.2 (EI),
    0.4 (IE), 0.1 (II); membranes of 30 ms and 1 MOhm, threshold 15 mV, reset 13.5 mV, a background current of 13.5 nA;
    delays of 1.5 ms (EE) and 0.8 ms; input of 18 nA to excitatory and 9 nA to inhibitory units; features are the
    spikes filtered with 30 ms. A current of A nA with the time constant of its synapse moves the membrane by

    .. math:: w = A \cdot uR \cdot \tau_s / \tau \quad \text{mV}, \qquad \tau_s = 3 \text{ (E)},\ 6 \text{ (I) ms}.

    What the fields of an LSM do not carry, and what stands for it here:

    - one refractory time: 3 ms for all units (2 ms for inhibitory ones there);
    - one time constant of synapses: 3 ms for all; inhibitory ones keep the charge they have with 6 ms;
    - no short-term plasticity: the efficacy uR is a constant of each pair of types;
    - all synapses of a pair of types are equal (gamma distributed there).

    Args:
        n_inputs: channels. dt: ms, 0.1 there; delays and the refractory time are rounded to whole steps.
        efficacy: "20 Hz": uR at the tenth spike of a regular train of 20 Hz; "rested": that of the first spike, with
            which the excitatory units alone excite one another without end.
        **fields: any field of :class:`LSM` instead of the above.

    Returns:
        An :class:`LSM`.

    Raises:
        ValueError, TypeError: dt not positive, an unknown efficacy or field.
    """
    check.scalar("dt", dt, 0.0, low_open=True)
    check.choice("efficacy", efficacy, EFFICACIES)
    sizes: Any = tuple(SIZES[pair] * EFFICACIES[efficacy][pair] * TAU_SYNAPSE[pair[0]] / TAU for pair in PAIRS)
    delays: Any = tuple(round(ms / dt) for ms in (1.5, 0.8, 0.8, 0.8))
    wiring = Lattice(shape=(15, 3, 3), probabilities=(0.3, 0.2, 0.4, 0.1), length=2.0, sizes=sizes, delays=delays)
    known = {
        "wiring": wiring, "input_wiring": ClassicInput(n_excitatory=wiring.n_excitatory), "input_layer": "direct",
        "synapse": "exponential", "decay": "exact", "refractory": 3.0, "refractory_hold": "clamp", "tau": TAU,
        "tau_synapse": TAU_SYNAPSE["E"], "tau_trace": 30.0, "threshold": 15.0, "reset": 13.5, "bias": 13.5,
        "features": "filtered",
    }
    return LSM(n_inputs=n_inputs, dt=dt, **{**known, **fields})

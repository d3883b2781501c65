"""Every model the conformance table runs on: one line a model.

Besides the library's models the zoo holds the smallest honest members of families that stress the protocol in other
ways (tests/zoo_models.py): a spiking network with a refractory counter, a rate network as a flow, a gated unit, and a
thought-machine tick with a history and synchronization accumulators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import zoo_models as small

from dynlab import (
    ESN,
    GRU,
    LSM,
    LSTM,
    RNN,
    EIReservoir,
    Euler,
    ExpEuler,
    Feedback,
    FlowMap,
    Hold,
    Izhikevich,
    Lattice,
    RandomInput,
    Stack,
    from_step,
    from_torch,
)
from dynlab.models import weights
from dynlab.models.ctm import CTM
from dynlab.models.ctm_baselines import AttentiveLSTM
from dynlab.models.leaky_rnn import LeakyFlow, LeakyRNN
from dynlab.plasticity import Plastic, SlowModulator


@dataclass(frozen=True)
class Entry:
    """A model and what the table must know about it: its phase-space dimension, and whether a key makes noise.

    `alike` names the entry that stands for this one wherever a whole run is compiled: the two have the same structure,
    and the formula or the topology in which they differ is compared with NumPy by the tests of the model's own file.
    A model without it is in every test.
    """

    model: Any
    n_phase: int
    noisy: bool = False
    sizes: Any = None  # channels of the input, where the model does not say (``input_sizes``)
    alike: str | None = None

    def inputs(self, key: jax.Array, n_steps: int) -> Any:
        """A driving series (n_steps, features) for every leaf of the model's input."""
        sizes = getattr(self.model, "input_sizes", self.sizes)
        leaves, treedef = jax.tree.flatten(sizes)
        keys = jax.random.split(key, len(leaves))
        drawn = [jax.random.uniform(k, (n_steps, n), minval=-1.0) for k, n in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(treedef, drawn)


def leaky_step(params: Any, state: Any, x: Any) -> Any:
    """A user's own step function."""
    drive = params["w"] @ state + params["v"] @ x
    return (1 - params["leak"]) * state + params["leak"] * jnp.tanh(drive)


FUNCTION, _ = from_step(leaky_step, 3, {"w": jnp.eye(3)[::-1], "v": jnp.ones((3, 2)), "leak": 0.3}, n_inputs=2)
TORCH, _ = from_torch(Path(__file__).parent / "fixtures" / "state_dict.pt")
LIQUID = LSM(n_inputs=3, wiring=Lattice(shape=(2, 2, 2), delays=(1, 0, 2, 0)), input_wiring=RandomInput(share=0.6),
             input_scale=8.0)
THINKER = CTM(n_inputs=2, n_tokens=3, n_units=6, n_attention=4, n_heads=2, n_history=3, n_hidden=2, n_out=2, n_action=2,
              decay=0.1)
FLOW = small.RateFlow(n_units=5)
READOUT = small.MeanReadout(jnp.full((2, 12), 0.1))

ring = partial(ESN, topology="cycle")  # inside others: its init compiles in a third of the time of a random network's

ZOO: dict[str, Entry] = {
    "esn": Entry(ESN(n_units=12, noise=0.05, bias_scaling=0.1), 12, noisy=True),
    "esn_linear_leaky": Entry(ESN(n_units=12, activation="identity", leak_rate=0.3), 12, alike="esn"),
    "esn_relu": Entry(ESN(n_units=12, activation="relu", spectral_radius=0.5), 12, alike="esn"),
    "esn_sigmoid": Entry(ESN(n_units=12, activation="sigmoid", topology="orthogonal"), 12, alike="esn"),
    "esn_cycle": Entry(ESN(n_units=12, topology="cycle"), 12),
    "esn_delay_line": Entry(ESN(n_units=12, topology="delay_line"), 12, alike="esn_cycle"),
    "esn_gather": Entry(ESN(n_units=12, connectivity=0.25, recurrence="gather"), 12),
    "esn_small_world": Entry(ESN(n_units=12, topology=weights.SmallWorld(neighbours=4)), 12, alike="esn"),
    "esn_dale": Entry(ESN(n_units=12, topology=weights.Dale(connectivity=0.5)), 12, alike="esn"),
    "esn_feedback": Entry(ESN(n_inputs=2, n_units=12, n_feedback=1, noise=0.02), 12, noisy=True),
    "esn_closed_loop": Entry(Feedback(ring(n_inputs=4, n_units=12), READOUT), 12, sizes=2),
    "esn_deep": Entry(Stack((ring(n_units=8, noise=0.1), ring(n_inputs=8, n_units=6, leak_rate=0.5))), 14, noisy=True),
    "esn_held": Entry(Hold(ring(n_units=12, leak_rate=0.5, noise=0.1), n_ticks=3), 12, noisy=True),
    "ei_reservoir": Entry(EIReservoir(n_inputs=2, n_units=10, in_degree=5, gain=3.0, noise=0.05), 10, noisy=True),
    "lsm": Entry(LIQUID.replace(noise=0.5), 46, noisy=True),
    "lsm_direct": Entry(LIQUID.replace(order="next_step", input_layer="direct", features="filtered"), 43, alike="lsm"),
    "lsm_plastic": Entry(Plastic(LIQUID, modulator=SlowModulator()), 275),
    "izhikevich": Entry(Izhikevich(n_units=10, cells="network", noise=5.0), 20, noisy=True),
    "rnn": Entry(RNN(n_inputs=2, n_units=6), 6),
    "gru": Entry(GRU(n_inputs=2, n_units=6), 6),
    "gru_reset_before": Entry(GRU(n_inputs=2, n_units=6, reset="before"), 6, alike="gru"),
    "lstm": Entry(LSTM(n_inputs=2, n_units=6), 12),
    "leaky_rnn": Entry(LeakyRNN(n_inputs=2, n_units=6, tau=2.0, tau_spread=3.0, noise=0.1), 6, noisy=True),
    "leaky_rnn_outside": Entry(
        LeakyRNN(n_units=6, activation="leaky_relu", placement="outside", tau_spread=1.0, self_connections=False), 6
    ),
    "leaky_flow": Entry(Euler(LeakyFlow(n_inputs=2, n_units=6, tau=2.0, rank=2, noise=0.1), dt=0.5), 6, noisy=True),
    "ctm": Entry(THINKER, 27),
    "ctm_held": Entry(THINKER.replace(coordinates="units", pairing="dense", depth=2, dropout=0.2), 24, noisy=True),
    "ctm_window": Entry(THINKER.replace(n_heads=0, n_action=0, window=True, n_hidden=None), 24, alike="ctm"),
    "ctm_lstm": Entry(AttentiveLSTM(2, 3, n_units=6, n_attention=4, n_heads=2), 12, alike="ctm"),
    "from_step": Entry(FUNCTION, 3),
    "from_torch": Entry(TORCH, 10, alike="gru"),
    "lif": Entry(small.LIF(n_units=9), 18, noisy=True),
    "rate_euler": Entry(Euler(FLOW, dt=0.5), 5, noisy=True),
    "rate_exp_euler": Entry(ExpEuler(FLOW, dt=0.5), 5, noisy=True),
    "rate_solver": Entry(FlowMap(FLOW, dt=0.5), 5),
    "gated": Entry(small.Gated(n_units=6), 6, alike="gru"),
    "thought_tick": Entry(small.ThoughtTick(n_units=5, n_history=4), 25),
}
FAMILIES = [name for name, entry in ZOO.items() if entry.alike is None]

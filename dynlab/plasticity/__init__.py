"""Plasticity: pure rules that change parameters, and the scans that apply them."""

from dynlab.plasticity.balance import Adaptation, Design, adapt_inhibition, beta_targets, one_step_design, phases
from dynlab.plasticity.intrinsic import IntrinsicAdaptation, adapt_intrinsic, exponential_rule, normal_rule
from dynlab.plasticity.online import Plastic, PlasticParams, PlasticState
from dynlab.plasticity.short_term import ShortTerm
from dynlab.plasticity.stdp import CalciumGate, SlowModulator, calcium_gate, pair_stdp, spike_trace, three_factor

__all__ = [
    "Adaptation", "CalciumGate", "Design", "IntrinsicAdaptation", "Plastic", "PlasticParams", "PlasticState",
    "ShortTerm", "SlowModulator", "adapt_inhibition", "adapt_intrinsic", "beta_targets", "calcium_gate",
    "exponential_rule", "normal_rule", "one_step_design", "pair_stdp", "phases", "spike_trace", "three_factor",
]

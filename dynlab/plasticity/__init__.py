"""Plasticity: pure rules that change parameters, and the scans that apply them."""

from dynlab.plasticity.balance import Adaptation, Design, adapt_inhibition, beta_targets, one_step_design, phases
from dynlab.plasticity.intrinsic import IntrinsicAdaptation, adapt_intrinsic, exponential_rule, normal_rule

__all__ = [
    "Adaptation", "Design", "IntrinsicAdaptation", "adapt_inhibition", "adapt_intrinsic", "beta_targets",
    "exponential_rule", "normal_rule", "one_step_design", "phases",
]

"""How excitation and inhibition stand to each other in a network with Dale's law, and its linearisation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.linearize import jacobian, phase_map
from dynlab.protocol import Map

Array = jax.Array


@tree.dataclass
class Balance:
    """What :func:`balance` returns: `overall`, a scalar, and `per_unit`, (N,), whose mean it is."""

    overall: Array
    per_unit: Array


def unit_balance(excited: Array, inhibited: Array) -> Array:
    """beta_i (N,) from the total excitatory and inhibitory weight of every unit, both (N,) and at least 0."""
    return (excited - inhibited) / jnp.mean(excited)


def balance(model: Any, params: Any) -> Balance:
    r"""Balance of excitation and inhibition, of every unit and of the network.

    .. math:: \beta_i = \frac{\sum_j A^E_{ij} - \sum_j A^I_{ij}}{\langle \sum_j A^E_{kj} \rangle_k}, \qquad
              \beta = \langle \beta_i \rangle_i

    0 is balanced, 1 without inhibition, negative over-inhibited. The definition is ours; it is a number for units
    without excitatory input too.

    Args:
        model, params: a model with ``excitation(params)`` (N, n_E) and ``inhibition(params)`` (N, n_I), both at least
            0, such as :class:`dynlab.EIReservoir`.

    Raises:
        TypeError: a model without them.
    """
    check.methods("model", model, ("excitation", "inhibition"), "EIReservoir")
    per_unit = unit_balance(*(jnp.sum(part(params), axis=1) for part in (model.excitation, model.inhibition)))
    return Balance(jnp.mean(per_unit), per_unit)


def linearised_spectral_radius(model: Map, params: Any, state: Any, x: Any = None) -> float:
    r"""Largest modulus of an eigenvalue of the Jacobian of one step at a state and input, on the host in float64.

    For the E/I reservoir the Jacobian is :math:`c\,\mathrm{diag}(r(1 - r))(A^E - A^I)`, r the rates after the step.

    Args:
        state: one state of the model, such as its mean rates. x: the input of the step; None for a model without.

    Raises:
        TypeError: a model that is not smooth.
    """
    system = phase_map(model, params, state)
    matrix = np.asarray(jacobian(system.at(x), system.z0), np.float64)
    if not np.all(np.isfinite(matrix)):
        raise ValueError("state must give a finite Jacobian, got NaN or infinity in it")
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))

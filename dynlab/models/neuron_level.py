"""Neuron-level models: every unit has its own small network, which reads the unit's own recent input.

In the Continuous Thought Machine (arXiv:2505.05522) it maps the last M pre-activations of a unit to its activation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.models.layers import dropout, glu, uniform

Array = jax.Array


@tree.dataclass
class PrivateAffine:
    r"""One affine map a unit, :math:`y_d = (x_d W_d + b_d) / c`.

    Attributes:
        weight: (D, n_in, n_out). bias: (D, n_out). scale: c, one number for the layer; learned, 1 at first.
    """

    weight: Array
    bias: Array
    scale: Array

    def __call__(self, x: Array) -> Array:
        """(D, n_in) -> (D, n_out)."""
        y = jnp.einsum("di,dio->do", x, self.weight / self.scale, precision=jax.lax.Precision.HIGHEST)
        return y + self.bias / self.scale

    def gated(self, x: Array) -> Array:
        """The same through a gated linear unit, (D, n_in) -> (D, n_out / 2), for batches and many outputs.

        The bias is a row of the weight and the halves are two products: nothing wide is passed over twice, and the
        units stay in front of the batch, where a sum with the bias would turn everything wide around.
        """
        half = self.bias.shape[1] // 2
        weight = jnp.concatenate([self.weight, self.bias[:, None, :]], axis=1) / self.scale
        x = jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1)
        value, gate = (jnp.einsum("di,dio->do", x, part, precision=jax.lax.Precision.HIGHEST)
                       for part in (weight[:, :, :half], weight[:, :, half:]))
        return value * jax.nn.sigmoid(gate)


@tree.dataclass
class NeuronLevel:
    r"""The private networks of D units.

    .. math::
        z_d &= \mathrm{GLU}(\mathrm{GLU}(A_d W^1_d + b^1_d) W^2_d + b^2_d) \quad\text{(deep, M to H to 1)} \\
        z_d &= \mathrm{GLU}(A_d W^1_d + b^1_d) \quad\text{(shallow, M to 1)}

    with the division by one learned number after each affine map. The paper's listing has a plain two-layer network;
    with gated linear units, as here, the parameters are as many as its tables say. The normalisation of the history
    that the authors' code offers and does not use is left out.

    Attributes:
        first: M to 2 H (deep) or 2. second: H to 2, or None (shallow).
    """

    first: PrivateAffine
    second: PrivateAffine | None

    def __call__(self, history: Array, rate: Array | None = None, key: Array | None = None) -> Array:
        """History (D, M), newest last -> activations (D,). Dropout of `rate` acts on what each affine map reads.

        For a gradient it is computed again: that takes less time than to keep the hidden layer of every tick.
        """
        return jax.checkpoint(_activate, prevent_cse=False)(self, history, rate, key)


def _activate(networks: NeuronLevel, history: Array, rate: Array | None, key: Array | None) -> Array:
    last, x = networks.first, dropout(history, rate, key, "history")
    if networks.second is not None:
        last, x = networks.second, dropout(networks.first.gated(x), rate, key, "hidden")
    return glu(last(x))[:, 0]


def neuron_level(key: Array, n_units: int, n_history: int, n_hidden: int | None) -> NeuronLevel:
    r"""Draw the private networks: deep with H = `n_hidden`, shallow with None.

    Weights are uniform on :math:`\pm 1/\sqrt{n_{in} + n_{out}}`, biases 0, scales 1.

    Raises:
        ValueError, TypeError: sizes below 1.
    """
    check.integer("n_units", n_units, 1)
    check.integer("n_history", n_history, 1)
    if n_hidden is None:
        sizes = [(n_history, 2)]
    else:
        check.integer("n_hidden", n_hidden, 1)
        sizes = [(n_history, 2 * n_hidden), (n_hidden, 2)]
    flat = uniform(key, (n_units, sum(n_in * n_out for n_in, n_out in sizes)), 1.0)
    layers, start = [], 0
    for n_in, n_out in sizes:
        own = flat[:, start : start + n_in * n_out] * (n_in + n_out) ** -0.5
        start += n_in * n_out
        layers.append(PrivateAffine(own.reshape(n_units, n_in, n_out), jnp.zeros((n_units, n_out), flat.dtype),
                                    jnp.ones((), flat.dtype)))
    return NeuronLevel(layers[0], layers[1] if len(layers) > 1 else None)

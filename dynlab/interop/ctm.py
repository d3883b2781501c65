"""A Continuous Thought Machine trained by its authors' PyTorch code, from a state_dict or a checkpoint."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.interop.torch_file import Foreign, read_torch_file
from dynlab.interop.weights import host_array, weight
from dynlab.models.attention import Attention
from dynlab.models.ctm import CTM, CTMParams
from dynlab.models.layers import Affine, Norm
from dynlab.models.neuron_level import NeuronLevel, PrivateAffine
from dynlab.models.positions import N_FOURIER, N_HIDDEN, Fourier, Rotation, RotationGrid
from dynlab.models.reader import Reader
from dynlab.models.synchronization import Pairs
from dynlab.models.unet import Block, Gate, Gates, UNet, unet_widths

Array = jax.Array
SOURCE = ("a state_dict (a mapping of names to arrays) of the published ContinuousThoughtMachine, a checkpoint that "
          "holds one as 'model_state_dict', or the path of either")
BACKBONES = ("backbone.", "initial_rgb.")  # of images: not part of the model


def ctm_from_torch(
    source: Any, *, n_heads: int | None = None, n_tokens: int | tuple[int, int] | None = None,
    n_outputs: tuple[int, ...] | None = None, prefix: str = "", dt: float = 1.0,
) -> tuple[CTM, CTMParams]:
    """A Continuous Thought Machine of the authors' code (``models/ctm.py``, arXiv:2505.05522), in evaluation mode.

    Sizes, pairing (also where indices were drawn), depth of the synapse model, private networks, embedding and
    positional code are read off names and shapes. Taken are the parity model, the sorting model, the tutorial's MNIST
    model, and the models of images and mazes from their features on: entries of an image backbone (``backbone.``,
    ``initial_rgb.``) are passed over, and the tokens of the model are the backbone's features (N, F), rows first. For
    the parity model they are symbols, 1 for +1 and 0 for -1. The number of ticks is an argument of
    :func:`dynlab.models.thinking.think`. Decays are put into [0, 15], as the authors' forward pass does.

    Args:
        source: a state_dict (values NumPy arrays or PyTorch tensors), a checkpoint of the authors' training scripts
            (a mapping with ``"model_state_dict"`` and ``"args"``), or the path of either; nothing in a file is run.
        n_heads: of the attention. Read from a checkpoint's args; not needed for a model without attention.
        n_tokens: N, or (H, W) for a grid of features. Read from a checkpoint's args for parity; not needed without
            attention.
        n_outputs: shape of the logits, classes last, as the authors' ``prediction_reshaper``. By default (N, 2) for the
            parity model and (out_dims,) for others; the certainty depends on it.
        prefix: of the entries, in the state_dict of a larger module, such as "ctm.".
        dt: physical time per tick.

    Returns:
        ``(model, params)``.

    Raises:
        ValueError: a missing or unexpected entry, another shape, an index out of range, NaN or infinity, a histories'
            normalisation (``do_layernorm_nlm``), an argument that is missing or contradicts the checkpoint.
        TypeError: a source that is none of these.
    """
    check.scalar("dt", dt, 0.0, low_open=True)
    entries, options = _open(source, prefix)
    n_heads = _number("n_heads", n_heads, options.get("heads"))
    n_units, n_history = entries.take("start_trace", (None, None), keep=True).shape
    neurons = _neurons(entries, n_units, n_history)
    attends = entries.has("attention.")
    pairs, decays, pairing, n_self = _pairs(entries, n_units, ("out", "action") if attends else ("out",))
    reader: Reader | None = None
    shape: dict[str, Any] = {"n_heads": 0, "n_action": 0, "n_inputs": entries.width_of_synapses(n_units)}
    if attends:
        reader, shape = _reader(entries, pairs["action"].size, n_heads, n_tokens, options)
        shape["n_action"] = pairs["action"].left.shape[0]
    synapse = _synapse(entries, shape["n_attention" if attends else "n_inputs"], n_units)
    out_dims = entries.take("output_projector.0.bias", (None,), keep=True).shape[0]
    start_active = entries.take("start_activated_state", (n_units,))
    model = CTM(
        n_units=n_units, n_history=n_history, pairing=pairing, n_self=n_self, n_out=pairs["out"].left.shape[0],
        n_hidden=None if neurons.second is None else neurons.second.weight.shape[1],
        depth=1 if isinstance(synapse, Gates) else 1 + len(synapse.down),
        n_outputs=_outputs(n_outputs, out_dims, shape), dt=float(dt), **shape,
    )
    params = CTMParams(
        reader=reader, synapse=synapse, neurons=neurons,
        head=entries.affine("output_projector.0", pairs["out"].size, out_dims),
        start_active=start_active, start_history=entries.take("start_trace", (n_units, n_history)),
        action=pairs.get("action"), out=pairs["out"], decay_action=decays.get("action"), decay_out=decays["out"],
        dropout=None,
    )
    entries.finish()
    model._validate()
    return model, model.project(params)


class _Entries:
    """The entries of a state_dict; what was taken is known, so what is left over is an error."""

    def __init__(self, entries: Mapping[str, Any], prefix: str) -> None:
        self._entries, self._prefix, self._left = dict(entries), prefix, set(entries)

    def has(self, start: str) -> bool:
        """Whether some entry's name begins so."""
        return any(name.startswith(start) for name in self._entries)

    def count(self, start: str) -> int:
        """How many numbered parts there are below a name."""
        return len({name.removeprefix(start).split(".")[0] for name in self._entries if name.startswith(start)})

    def raw(self, name: str) -> Any:
        """One entry as it is."""
        if name not in self._entries:
            raise ValueError(f"{self._prefix}{name} is missing; the source must be {SOURCE}, got the entries "
                             f"{_listed(self._entries)}")
        self._left.discard(name)
        return self._entries[name]

    def take(self, name: str, shape: tuple[int | None, ...], *, keep: bool = False) -> Array:
        """One entry of a shape; with `keep` only looked at."""
        left = set(self._left)
        found = weight(self._prefix + name, self.raw(name), shape)
        self._left = left if keep else self._left
        return found

    def affine(self, name: str, n_in: int | None, n_out: int | None) -> Affine:
        """An ``nn.Linear``."""
        w = self.take(name + ".weight", (n_out, n_in))
        return Affine(w, self.take(name + ".bias", (w.shape[0],)))

    def norm(self, name: str, n: int) -> Norm:
        """An ``nn.LayerNorm``."""
        return Norm(self.take(name + ".weight", (n,)), self.take(name + ".bias", (n,)))

    def width_of_synapses(self, n_units: int) -> int:
        """How many numbers the synapse model reads besides the activations."""
        first = "synapses.1.weight" if "synapses.1.weight" in self._entries else "synapses.first_projection.0.weight"
        columns = self.take(first, (None, None), keep=True).shape[1]
        if columns <= n_units:
            raise ValueError(f"{self._prefix}{first} must have more than {n_units} columns, one for each unit and one "
                             f"for each input, got {columns}")
        return columns - n_units

    def finish(self) -> None:
        """Refuse entries that nobody took, those of an image backbone excepted."""
        left = sorted(name for name in self._left if not name.startswith(BACKBONES))
        if left:
            hint = "; a normalisation of histories (do_layernorm_nlm) is not supported" if any(
                ".layernorm." in name for name in left) else ""
            raise ValueError(f"source must hold no entries besides those of the published model, got "
                             f"{', '.join(self._prefix + name for name in left[:12])}{hint}")


def _listed(entries: Mapping[str, Any]) -> str:
    names = list(entries)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _open(source: Any, prefix: str) -> tuple[_Entries, Mapping[str, Any]]:
    """The entries, and the options with which a checkpoint was trained."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {type(prefix).__name__}")
    if isinstance(source, (str, os.PathLike)):
        source = read_torch_file(source, objects=True)
    if not isinstance(source, Mapping):
        module = ": give its state_dict()" if hasattr(source, "state_dict") else ""
        raise TypeError(f"source must be {SOURCE}, got {type(source).__name__}{module}")
    options: Any = {}
    if isinstance(source.get("model_state_dict"), Mapping):
        options = source.get("args", {})
        options = options.attributes if isinstance(options, Foreign) else options
        options = options if isinstance(options, Mapping) else getattr(options, "__dict__", {})
        source = source["model_state_dict"]
    prefix = prefix if not prefix or prefix.endswith(".") else prefix + "."
    entries = {str(name).removeprefix(prefix).replace("_orig_mod.", ""): value  # what torch.compile puts into names
               for name, value in source.items() if str(name).startswith(prefix)}
    if not entries:
        raise ValueError(f"source must be {SOURCE}, with entries whose names begin with {prefix!r}; got the entries "
                         f"{_listed(source)}")
    return _Entries(entries, prefix), options


def _number(name: str, given: Any, found: Any) -> int | None:
    """A number from the arguments or from the checkpoint's options, which must agree."""
    found = found if type(found) is int else None
    if given is None:
        return found
    given = check.integer(name, given, 1)
    if found not in (None, given):
        raise ValueError(f"{name} must be {found}, as the checkpoint's args say, got {given}")
    return given


def _outputs(n_outputs: Any, out_dims: int, shape: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of the logits, which must have so many numbers."""
    if n_outputs is None:
        parity = shape.get("n_symbols") is not None
        n_outputs = (shape["n_tokens"], 2) if parity else (out_dims,)
    wrong = not isinstance(n_outputs, tuple) or not n_outputs
    if wrong or math.prod(check.integer("n_outputs", n, 1) for n in n_outputs) != out_dims:
        raise ValueError(f"n_outputs must be a tuple of sizes with product {out_dims}, the rows of "
                         f"output_projector.0.weight, got {n_outputs!r}")
    return n_outputs


def _neurons(entries: _Entries, n_units: int, n_history: int) -> NeuronLevel:
    """The private networks; the tutorial's have one level of names less and no scale."""
    root = "trace_processor.0." if entries.has("trace_processor.0.0.") else "trace_processor."

    def layer(name: str, n_in: int, n_out: int | None) -> PrivateAffine:
        w = entries.take(f"{root}{name}.w1", (n_in, n_out, n_units))
        bias = entries.take(f"{root}{name}.b1", (1, n_units, w.shape[1]))[0]
        scale = jnp.ones((), w.dtype)
        if entries.has(f"{root}{name}.T"):
            scale = entries.take(f"{root}{name}.T", (1,))[0]
        return PrivateAffine(jnp.transpose(w, (2, 0, 1)), bias, scale)

    if not entries.has(root + "2."):
        return NeuronLevel(layer("0", n_history, 2), None)
    first = layer("0", n_history, None)
    hidden, odd = divmod(first.weight.shape[2], 2)
    if odd:
        raise ValueError(f"{root}0.w1 must have an even number of outputs, got {first.weight.shape[2]}")
    return NeuronLevel(first, layer("2", hidden, 2))


def _pairs(
    entries: _Entries, n_units: int, roles: tuple[str, ...]
) -> tuple[dict[str, Pairs], dict[str, Array], str, int]:
    """Pairs and decays of each role, the name of the pairing, and how many pairs are of a unit with itself."""
    decays = {role: entries.take(f"decay_params_{role}", (None,)) for role in roles}
    sides: dict[str, list[np.ndarray]] = {}
    for role in roles:
        size = decays[role].shape[0]
        names = [f"{role}_neuron_indices_{side}" for side in ("left", "right")]
        if entries.has(f"{role}_neuron_indices_"):
            sides[role] = [_indices(name, entries.raw(name), n_units) for name in names]
        else:  # the tutorial: dense
            n = (math.isqrt(8 * size + 1) - 1) // 2
            if n * (n + 1) // 2 != size or n > n_units:
                raise ValueError(f"{names[0]} is missing: without it decay_params_{role} must have J (J + 1) / 2 "
                                 f"entries for J of {n_units} units, got {size}")
            sides[role] = [_dense(role, n, n_units)] * 2
        n = len(sides[role][0])
        if len(sides[role][1]) != n or size not in (n, n * (n + 1) // 2):
            raise ValueError(f"decay_params_{role} must have J or J (J + 1) / 2 entries for the J = {n} units of "
                             f"{names[0]} and as many of {names[1]}, got {size} and {len(sides[role][1])}")
    kinds = {decays[role].shape[0] != len(sides[role][0]) for role in roles if len(sides[role][0]) > 1}
    if len(kinds) > 1:
        raise ValueError("decay_params_out and decay_params_action must both have one entry a pair of units or both "
                         f"J (J + 1) / 2, got {[(len(sides[role][0]), decays[role].shape[0]) for role in roles]}")
    dense = all(np.array_equal(side, _dense(role, len(side), n_units)) for role in roles for side in sides[role])
    crossed = kinds == {True} or (not kinds and dense)
    made = {role: Pairs(jnp.asarray(left, jnp.int32), jnp.asarray(right, jnp.int32), crossed=crossed)
            for role, (left, right) in sides.items()}
    if crossed:
        return made, decays, "dense" if dense else "semi_dense", 0
    leading = [int(np.argmin([*(left == right), False])) for left, right in sides.values()]
    return made, decays, "random", min(leading)


def _dense(role: str, n: int, n_units: int) -> np.ndarray:
    """The first units for the output, the last for the action."""
    return np.arange(n) + (n_units - n if role == "action" else 0)


def _indices(name: str, value: Any, n_units: int) -> np.ndarray:
    """Numbers of units."""
    found = np.asarray(host_array(value))
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape (J,), got dtype {found.dtype} and shape {found.shape}")
    if found.min() < 0 or found.max() >= n_units:
        raise ValueError(f"{name} must be in [0, {n_units - 1}], got {int(found.min())} to {int(found.max())}")
    return found


def _reader(
    entries: _Entries, n_query: int, n_heads: int | None, n_tokens: Any, options: Mapping[str, Any]
) -> tuple[Reader, dict[str, Any]]:
    """The input side, and the fields of the model that it fixes."""
    query = entries.affine("q_proj", n_query, None)
    d = query.weight.shape[0]
    if not n_heads or d % n_heads:
        raise ValueError(f"n_heads must be given, a divisor of the attention's width {d}: a state_dict does not tell "
                         f"(the authors' argument 'heads'); got {n_heads}")
    project = entries.affine("kv_proj.0", None, d)
    width = project.weight.shape[1]
    embedding = None
    if entries.has("backbone.embedding."):
        embedding = entries.take("backbone.embedding.weight", (None, width))
    if not isinstance(n_tokens, tuple):
        n_tokens = _number("n_tokens", n_tokens, None if embedding is None else options.get("parity_sequence_length"))
    if n_tokens is None:
        raise ValueError("n_tokens must be given: N, or (H, W) for a grid of features (a state_dict does not tell); "
                         "got None")
    kind, positions = _positions(entries, width)
    inner = Affine(entries.take("attention.in_proj_weight", (3 * d, d)),
                   entries.take("attention.in_proj_bias", (3 * d,)))
    reader = Reader(
        embedding=embedding, positions=positions, project=project, norm=entries.norm("kv_proj.1", d), query=query,
        attention=Attention(inner, entries.affine("attention.out_proj", d, d), n_heads),
    )
    return reader, {"n_heads": n_heads, "n_tokens": n_tokens, "n_attention": d, "n_inputs": width, "positions": kind,
                    "n_symbols": None if embedding is None else embedding.shape[0]}


def _positions(entries: _Entries, width: int) -> tuple[str, Any]:
    """Name and parameters of the positional code."""
    at = "positional_embedding."
    if not entries.has(at):
        return "none", None
    if entries.has(at + "start_vector"):
        return "rotation_grid", RotationGrid(entries.affine(at + "projection.0", 4, width),
                                             entries.take(at + "start_vector", (2,)))
    if entries.has(at + "projection."):
        return "rotation", Rotation(entries.affine(at + "projection", 2, width))
    several = entries.has(at + "embedders.")
    scales = [f"{at}embedders.{i}." for i in range(entries.count(at + "embedders."))] if several else [at]
    parts = [(entries.take(one + "Wr.weight", (N_FOURIER // 2, 2)), entries.affine(one + "mlp.0", N_FOURIER, N_HIDDEN),
              entries.affine(one + "mlp.2", N_HIDDEN // 2, width), entries.norm(one + "mlp.3", width))
             for one in scales]
    frequencies, hidden, outer, last = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    mixture = entries.take(at + "combination", (len(scales),)) if several else None
    return "multi_fourier" if several else "fourier", Fourier(frequencies, hidden, outer, last, mixture)


def _synapse(entries: _Entries, n_read: int, n_units: int) -> Gates | UNet:
    """The synapse model: one gate, or a U-Net of as many levels as there are entries."""
    n_in = n_read + n_units
    if not entries.has("synapses.first_projection."):
        return Gates((Gate(entries.affine("synapses.1", n_in, 2 * n_units), entries.norm("synapses.3", n_units)),))

    def block(name: str, first: int, n_from: int, n_to: int) -> Block:
        return Block(entries.affine(f"synapses.{name}.{first}", n_from, n_to),
                     entries.norm(f"synapses.{name}.{first + 1}", n_to))

    widths = unet_widths(n_units, 1 + max(1, entries.count("synapses.down_projections.")))
    steps = list(itertools.pairwise(widths))
    return UNet(
        entry=block("first_projection", 0, n_in, n_units),
        down=tuple(block(f"down_projections.{i}", 1, a, b) for i, (a, b) in enumerate(steps)),
        up=tuple(block(f"up_projections.{i}", 1, b, a) for i, (a, b) in enumerate(steps)),
        skip=tuple(entries.norm(f"synapses.skip_lns.{i}", a) for i, (a, _) in enumerate(steps)),
    )

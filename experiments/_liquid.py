"""The liquid of Ivanov and Michmizos 2021 (arXiv:2111.01760) in programs: what its experiments share."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import LSM, Lattice, data
from dynlab.keys import named
from dynlab.plasticity import Plastic, SlowModulator
from dynlab.simulation import simulate
from dynlab.tasks import bernoulli_encode, nalsm_rates, nalsm_scale

Array = jax.Array
DATASETS = ("mnist", "fashion_mnist", "templates")


def templates(key: Array) -> Array:
    """64 random rates that are no data, (64, 784)."""
    return jax.random.uniform(key, (64, 784)) * jax.random.bernoulli(named(key, "on"), 0.15, (64, 784)) / 8.0


def rates(dataset: str, key: Array) -> Array:
    """Spike probabilities a ms (images, 784) of the training images, by their own constant."""
    if dataset == "templates":
        return templates(key)
    images = data.load(dataset).train.values.reshape(-1, 784).astype(np.float32)
    return nalsm_rates(images, nalsm_scale(images))


@jax.jit
def run_static(model: Any, params: Any, events: Array, scales: Array) -> Array:
    """Spikes (scales, samples, T, N) of one liquid for every factor on all its weights: one program."""

    def one(scale: Array) -> Array:
        member = params.replace(weight_scale=scale, input_scale=scale)
        return simulate(model, member, events).outputs

    return jax.vmap(one)(scales)


def events(keys: Array, rates: Array, duration: int) -> Array:
    """Events (images, duration, 784) of images with these rates (images, 784), a key each."""
    return jax.vmap(lambda key, rate: bernoulli_encode(key, rate, duration))(keys, rates)


def plastic_liquid(shape: tuple[int, ...], size: float = 3.0, **rule: Any) -> Plastic:
    """The liquid with STDP as it is before its initialisation, all weights of one size; an astrocyte is the default."""
    liquid = LSM(wiring=Lattice(shape=shape), form="ell", weight_scale=size, input_scale=size)
    return Plastic(liquid, **(rule or {"modulator": SlowModulator()}))


def frozen(params: Any, state: Any, n_inputs: int) -> Any:
    """Parameters of the liquid, form "dense", with the weights that a plastic one has learnt."""
    own = params.liquid
    forms = ((own.recurrent, state.recurrent, own.recurrent.weight.shape[1]), (own.inputs, state.inputs, n_inputs))
    recurrent, inputs = (form.with_weight(weight).dense(n) for form, weight, n in forms)
    return own.replace(recurrent=recurrent, inputs=inputs)


def _liquid_spikes(params: Any, state: Any, x: Any) -> Array:
    return state.liquid.spikes


def _with_gain(params: Any, gain: Array) -> Any:
    return params if params.modulator is None else params.replace(modulator=params.modulator.replace(gain=gain))


@partial(jax.jit, static_argnames=("steps",))
def start_plastic(model: Any, params: Any, rates: Array, key: Array, gains: Array, *, steps: int) -> Any:
    """States (gains, ...) after the initialisation: each image of `rates` for `steps` ms, weights carried on.

    Gains are those of the modulator; a liquid without one takes any one number.
    """

    def one(gain: Array) -> Any:
        knobs = _with_gain(params, gain)

        def image(state: Any, number: Array) -> tuple[Any, None]:
            events = bernoulli_encode(jax.random.fold_in(key, number), rates[number], steps)
            state = model.restart(knobs, state)
            return simulate(model, knobs, events, state=state, record=None).state, None

        return jax.lax.scan(image, model.init_state(knobs), jnp.arange(rates.shape[0]))[0]

    return jax.vmap(one)(gains)


@jax.jit
def run_plastic(model: Any, params: Any, states: Any, events: Array, gains: Array) -> Array:
    """Spikes (gains, samples, T, N + D); every image starts from the weights of the initialisation, learning fades."""

    def one(gain: Array, state: Any) -> Array:
        knobs = _with_gain(params, gain).replace(fade=jnp.full_like(params.fade, 0.99))
        begin = model.restart(knobs, state)
        return jax.lax.map(lambda x: simulate(model, knobs, x, state=begin, record=_liquid_spikes).outputs, events)

    return jax.vmap(one)(gains, states)


def own_folder(folder: Path | None, config: Any, key: Array) -> Path | None:
    """The folder of this very run: another configuration or key has another."""
    if folder is None:
        return None
    what = repr((config, jax.random.key_data(key).tolist())).encode()
    return folder / hashlib.sha256(what).hexdigest()[:16]


def kept(folder: Path | None, name: str, compute: Any) -> np.ndarray:
    """What `compute` gives, from the folder where it is there."""
    if folder is None:
        return np.asarray(compute())
    path = folder / f"{name}.npy"
    if not path.exists():
        found = np.asarray(compute())
        folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, found)
        path.with_suffix(".part").replace(path)
    return np.load(path)

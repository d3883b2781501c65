"""From sound to what an encoder takes: a mel spectrogram, and its logarithm between 0 and 1."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array


def hz_to_mel(frequency: Any) -> np.ndarray:
    r"""Mel of a frequency in Hz, :math:`m = 2595 \log_{10}(1 + f / 700)` (O'Shaughnessy 1987); on the host."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency, float) / 700.0)


def mel_to_hz(mel: Any) -> np.ndarray:
    """The frequency in Hz of a mel value: the inverse of :func:`hz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel, float) / 2595.0) - 1.0)


def mel_filters(rate: float, n_fft: int, n_bands: int, low: float = 100.0, high: float | None = None) -> np.ndarray:
    r"""Triangular filters of peak 1 whose corners are equally spaced in mel (Davis and Mermelstein 1980).

    With corners :math:`f_0 < \dots < f_{B+1}`, equally spaced in mel from `low` to `high`, band b (from 1) weighs the
    frequency f with

    .. math:: \max\Big(0, \min\Big(\frac{f - f_{b-1}}{f_b - f_{b-1}}, \frac{f_{b+1} - f}{f_{b+1} - f_b}\Big)\Big).

    Args:
        rate: samples a second. n_fft: samples of the Fourier transform, whose bins are rate / n_fft apart.
        n_bands: B. low, high: the outer corners in Hz; high None: half of `rate`.

    Returns:
        (n_bands, n_fft // 2 + 1), on the host, float64.

    Raises:
        ValueError: corners out of order or above rate / 2; a band so narrow that no bin falls into it.
    """
    check.scalar("rate", rate, 0.0, low_open=True)
    check.integer("n_fft", n_fft, 2)
    check.integer("n_bands", n_bands, 1)
    high = rate / 2 if high is None else high
    check.scalar("high", high, 0.0, rate / 2, low_open=True)
    check.scalar("low", low, 0.0)
    if not low < high:
        raise ValueError(f"low must be below high = {high:g} Hz, got {low:g}")
    corners = mel_to_hz(np.linspace(hz_to_mel(low), hz_to_mel(high), n_bands + 2))
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    empty = np.flatnonzero(filters.sum(axis=1) == 0)
    if empty.size:
        raise ValueError(f"n_bands must be so few that every band holds a bin of the transform ({rate / n_fft:.3g} Hz "
                         f"apart), got {n_bands}: band {empty[0]} is empty; a longer window has more bins")
    return filters


@partial(jax.jit, static_argnames=("length", "step", "n_fft"))
def _spectrogram(x: Array, filters: Array, *, length: int, step: int, n_fft: int) -> Array:
    starts = step * np.arange(1 + (x.shape[-1] - length) // step)
    taper = jnp.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length), x.dtype)
    frames = x[..., starts[:, None] + np.arange(length)] * taper
    power = jnp.abs(jnp.fft.rfft(frames, n_fft)) ** 2 / jnp.sum(taper) ** 2
    return jnp.matmul(power, filters.T, precision="highest")


def mel_spectrogram(
    waveform: Any, rate: float, n_bands: int = 32, *, window: float = 0.025, hop: float = 0.01, low: float = 100.0,
    high: float | None = None,
) -> Array:
    r"""Power of a sound in bands of equal width in mel, frame by frame.

    .. math:: P_{ib} = \sum_k H_{bk} \frac{\big| \sum_n h_n\, x_{i s + n}\, e^{-2 \pi \mathrm{i} k n / K} \big|^2}
              {\big(\sum_n h_n\big)^2}

    with the (periodic) Hann window h over `window` seconds, frames s samples (`hop` seconds) apart, K the next power of
    two and the triangles H of :func:`mel_filters`; a sine of amplitude a has the power :math:`a^2/4` at its frequency.
    Frames lie wholly inside the sound; nothing is padded. Source:
    Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420 (without the cosine transform).

    Args:
        waveform: (..., samples); leading axes are a batch. rate: samples a second, a Python number.
        n_bands: B. window, hop: seconds, rounded to whole samples. low, high: Hz, as in :func:`mel_filters`.

    Returns:
        (..., frames, n_bands), at least 0; frames = 1 + (samples - window) // hop, both in samples.

    Raises:
        ValueError, TypeError: no samples, a sound shorter than the window, bands of :func:`mel_filters`, a window or
            hop of less than one sample.
    """
    x = check.array("waveform", waveform)
    if x.ndim < 1 or 0 in x.shape:
        raise ValueError(f"waveform must have shape (..., samples), not empty, got {x.shape}")
    check.scalar("rate", rate, 0.0, low_open=True)
    samples = {}
    for name, seconds, least in (("window", window, 2), ("hop", hop, 1)):
        check.scalar(name, seconds, 0.0, low_open=True)
        samples[name] = round(seconds * rate)
        if samples[name] < least:
            raise ValueError(f"{name} must be at least {least} samples of {1 / rate:.3g} s, got {seconds!r} s")
    length = samples["window"]
    if x.shape[-1] < length:
        raise ValueError(f"waveform must have at least {length} samples, one window of {window:g} s, got {x.shape[-1]}")
    n_fft = 1 << (length - 1).bit_length()
    filters = jnp.asarray(mel_filters(rate, n_fft, n_bands, low, high), x.dtype)
    return _spectrogram(x, filters, length=length, step=samples["hop"], n_fft=n_fft)


@jax.jit
def _log_compress(power: Array, range_db: Any) -> Array:
    peak = jnp.max(power, axis=(-2, -1), keepdims=True)
    relative = jnp.where(peak > 0, power / jnp.where(peak > 0, peak, 1.0), 0.0)
    least = 10.0 ** (-0.1 * range_db)
    return jnp.maximum(0.0, 1.0 + 10.0 * jnp.log10(jnp.maximum(relative, least)) / range_db)


def log_compress(power: Any, range_db: float | Array = 40.0) -> Array:
    r"""A spectrogram in decibels below its own peak, as numbers from 0 to 1.

    .. math:: y = \max\Big(0, 1 + \frac{10 \log_{10}(P / \max P)}{R}\Big)

    The peak is that of the whole recording (frames and bands), so that loudness is gone; R decibels below it and
    silence give 0. What comes out is a rate or probability for an encoder, or a current.

    Args:
        power: (..., frames, bands), at least 0. range_db: R, above 0.

    Returns:
        (..., frames, bands) in [0, 1]; zeros for a silent recording.
    """
    p = check.array("power", power)
    if p.ndim < 2 or 0 in p.shape:
        raise ValueError(f"power must have shape (..., frames, bands), not empty, got {p.shape}")
    check.number("power", p, 0.0)
    check.scalar("range_db", range_db, 0.0, low_open=True)
    return _log_compress(p, range_db)

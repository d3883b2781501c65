"""The mel spectrogram against a plain NumPy transform, and the experiment on spoken digits piece by piece."""

# ruff: noqa: E501
from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import LSM, Lattice, RandomInput, simulate
from dynlab.tasks import hz_to_mel, log_compress, mel_filters, mel_spectrogram, mel_to_hz
from experiments import _speech, spoken_digits
from experiments.contract import quiet

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
RATE = 8000.0


def by_hand(x, n_bands, window, hop, low, high):
    """Frame by frame and sum by sum: the Fourier sum as a matrix, triangles by interpolation."""
    n_fft = 2 ** int(np.ceil(np.log2(window)))
    h = np.sin(np.pi * np.arange(window) / window) ** 2
    k, n = np.arange(n_fft // 2 + 1), np.arange(window)
    fourier = np.exp(-2j * np.pi * np.outer(k, n) / n_fft)
    corners = [700.0 * np.expm1(m / 1127.0104) for m in np.linspace(*(1127.0104 * np.log1p(f / 700) for f in (low, high)), n_bands + 2)]
    rows = []
    for start in range(0, len(x) - window + 1, hop):
        power = np.abs(fourier @ (h * x[start : start + window])) ** 2 / h.sum() ** 2
        rows.append([power @ np.interp(k * RATE / n_fft, corners[b : b + 3], [0.0, 1.0, 0.0], 0.0, 0.0) for b in range(n_bands)])
    return np.array(rows)


@pytest.mark.conformance
def test_spectrogram_by_hand(tol):
    x = RNG.normal(size=(2, 1000))
    got = np.asarray(mel_spectrogram(x, RATE, 12, window=0.025, hop=0.01, low=150.0, high=3500.0))
    assert got.shape == (2, 11, 12)
    want = np.stack([by_hand(row, 12, 200, 80, 150.0, 3500.0) for row in x])
    np.testing.assert_allclose(got, want, rtol=tol(1e-4, 1e-6), atol=1e-7)


def test_a_sine_is_where_its_frequency_is():
    """At the centre of a band the filter is 1 there; the power of the sine is a^2/4 at its own bin."""
    filters = mel_filters(RATE, 256, 20)
    bins = np.arange(129) * RATE / 256
    for band in (2, 9, 17):
        k = int(np.argmax(filters[band]))
        x = 3.0 * np.sin(2 * np.pi * bins[k] * np.arange(4000) / RATE + 0.3)
        power = np.asarray(mel_spectrogram(x, RATE, 20, window=0.032, hop=0.01)).mean(0)
        assert int(power.argmax()) == band
        spread = filters[band, k] + 0.25 * (filters[band, k - 1] + filters[band, k + 1])  # the Hann window's neighbours
        assert power[band] == pytest.approx(9.0 / 4.0 * spread, rel=1e-3)


def test_filters_and_mel():
    np.testing.assert_allclose(mel_to_hz(hz_to_mel([0.0, 440.0, 4000.0])), [0.0, 440.0, 4000.0], atol=1e-9)
    assert hz_to_mel(1000.0) == pytest.approx(1000.0, abs=0.1)  # how the scale was fixed
    filters = mel_filters(RATE, 512, 10, 0.0)
    bins = np.arange(257) * RATE / 512
    inner = (bins > mel_to_hz(hz_to_mel(4000.0) / 11)) & (bins < mel_to_hz(hz_to_mel(4000.0) * 10 / 11))
    np.testing.assert_allclose(filters.sum(0)[inner], 1.0, atol=1e-12)  # neighbours add up to one between the centres


def test_log_compress(tol):
    power = np.array([[1.0, 0.1], [1e-3, 1e-6], [0.0, 0.5]])
    want = [[1.0, 0.75], [0.25, 0.0], [0.0, 1 + np.log10(0.5) / 4]]
    np.testing.assert_allclose(log_compress(power), want, atol=tol(1e-6, 1e-12))
    np.testing.assert_allclose(log_compress(1e4 * power), want, atol=tol(1e-6, 1e-12))  # loudness is gone
    both = np.asarray(log_compress(np.stack([power, 0 * power])))
    np.testing.assert_array_equal(both[1], 0.0)


BAD = {
    "short": (lambda: mel_spectrogram(np.ones(100), RATE), ValueError, r"waveform must have at least 200 samples, one window of 0.025 s, got 100"),
    "number": (lambda: mel_spectrogram(1.0, RATE), ValueError, r"waveform must have shape \(..., samples\), not empty, got \(\)"),
    "rate": (lambda: mel_spectrogram(np.ones(300), 0.0), ValueError, r"rate must be finite and in \(0.0, inf\], got 0.0"),
    "hop": (lambda: mel_spectrogram(np.ones(300), RATE, hop=1e-5), ValueError, r"hop must be at least 1 samples of 0.000125 s, got 1e-05 s"),
    "bands": (lambda: mel_spectrogram(np.ones(300), RATE, 200), ValueError, r"n_bands must be so few .* got 200: band \d+ is empty"),
    "high": (lambda: mel_filters(RATE, 256, 10, high=5000.0), ValueError, r"high must be finite and in \(0.0, 4000.0\], got 5000.0"),
    "low": (lambda: mel_filters(RATE, 256, 10, 900.0, 800.0), ValueError, r"low must be below high = 800 Hz, got 900"),
    "power": (lambda: log_compress(-np.ones((2, 2))), ValueError, r"power must be finite and in \[0.0, inf\]"),
    "range": (lambda: log_compress(np.ones((2, 2)), 0.0), ValueError, r"range_db must be finite and in \(0.0, inf\], got 0.0"),
    "vector": (lambda: log_compress(np.ones(2)), ValueError, r"power must have shape \(..., frames, bands\), not empty, got \(2,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sound(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_counts_in_windows_are_those_of_each_recording_alone():
    """Sorted, padded and run together in pieces: the same counts as one recording by itself, cut where it ends."""
    spectra = RNG.random((7, 60, 5)).astype(np.float32)
    n_frames = np.array([14, 60, 33, 20, 47, 21, 40])
    for row, n in enumerate(n_frames):
        spectra[row, n:] = 0.0
    model = LSM(n_inputs=10, wiring=Lattice(shape=(3, 3, 2)), input_wiring=RandomInput(share=0.4), input_layer="direct", synapse="exponential", tau=30.0, input_scale=15.0)
    params = model.init(KEY)
    scales = (2.0, 0.0)
    spikes, events = _speech.counts(model, params, spectra, n_frames, 3, KEY, 0.2, scales, "delta", quiet, piece=3)
    assert spikes.shape == (2, 7, 3 * 18)
    assert events.shape == (7, 30)
    assert spikes.sum() > 100
    for row, n in enumerate(n_frames):
        x = _speech.encode(jnp.asarray(spectra[row]), KEY, "delta", 0.2)
        bounds = np.round(10 * n * np.arange(4) / 3).astype(int)
        for at, scale in enumerate(scales):
            alone = np.asarray(simulate(model, params.replace(weight_scale=scale), x).outputs)
            want = [alone[a:b].sum(0) for a, b in itertools.pairwise(bounds)]
            np.testing.assert_array_equal(spikes[at, row].reshape(3, 18), want)
        np.testing.assert_array_equal(events[row].reshape(3, 10), [np.asarray(x)[a:b].sum(0) for a, b in itertools.pairwise(bounds)])


def test_encoders_of_a_spectrogram():
    ramp = jnp.asarray(np.linspace(0.0, 1.0, 21)[:, None], jnp.float32)
    events = np.asarray(_speech.encode(ramp, KEY, "delta", 0.1))
    assert events.shape == (210, 2)
    assert events[:, 0].sum() in (9, 10)  # the last step may round to either side
    assert events[:, 1].sum() == 0
    line = np.asarray(_speech.encode(ramp, KEY, "current", 1.0))[:, 0]
    np.testing.assert_allclose(line[:201], np.linspace(0.0, 1.0, 201), atol=1e-6)
    flat = np.asarray(_speech.encode(jnp.ones((400, 1)), KEY, "poisson", 100.0))
    assert flat.mean() == pytest.approx(-np.expm1(-0.1), abs=4 * np.sqrt(0.09 / 4000))


def test_masked_fits_are_fits_on_the_rows_alone():
    from dynlab import ridge

    x = RNG.normal(size=(60, 4)) * [1.0, 5.0, 0.1, 2.0] + 3.0
    labels = RNG.integers(0, 3, 60)
    targets = np.eye(3)[labels]
    trains = np.stack([np.arange(60) < 40, np.arange(60) % 2 == 0])
    got = np.asarray(spoken_digits.predictions(jnp.asarray(x), jnp.asarray(targets), jnp.asarray(trains), jnp.asarray([0.1, 50.0])))
    for fold, train in enumerate(trains):
        z = (x - x[train].mean(0)) / x[train].std(0)
        for r, strength in enumerate((0.1, 50.0)):
            np.testing.assert_array_equal(got[fold, r], np.asarray(ridge(z[train], targets[train], strength)(z)).argmax(-1))


def test_a_speaker_held_out_is_not_seen():
    """Features that tell classes apart for two speakers and mislead for the third: it scores nothing, and neither its
    labels nor its features change the scores of its choice."""
    n = 120
    labels, groups, official = np.arange(n) % 4, np.arange(n) // 40, np.arange(n) % 10 == 0
    good = np.eye(4)[labels] + 0.05 * RNG.normal(size=(n, 4))
    bad = RNG.normal(size=(n, 4))
    x = good.copy()
    x[groups == 2] = np.eye(4)[(labels[groups == 2] + 1) % 4]
    found, _ = spoken_digits.scores([x], labels, groups, official, (1.0,))
    np.testing.assert_array_equal(found[2], [0.0, 0.0])
    found, split = spoken_digits.scores([bad, good], labels, groups, official, (1.0, 10.0))
    np.testing.assert_array_equal(found, np.array([[1.0, 1.0]] * 3))
    assert split == 1.0


def test_liquid_without_data():
    config = spoken_digits.Config.smoke()
    result = spoken_digits.run(config, KEY)
    assert result.claims == []
    assert "no speech" in result.tables[0].title
    for name in ("liquid", "spectrogram"):
        assert result.figures[f"official_split_{name}"] > 0.6  # chance is 0.1
    shown = np.asarray(result.data["accuracy"].values)
    np.testing.assert_allclose(shown[:, :, :].mean((1, 2)), [result.figures[f"accuracy_{name}"] for name in spoken_digits.SYSTEMS])


@pytest.mark.parametrize(("change", "message"), [
    ({"dataset": "timit"}, "dataset must be one of 'spoken_digits', 'tones'"),
    ({"encoder": "rate"}, "encoder must be one of 'delta', 'poisson', 'current'"),
    ({"weight_scales": ()}, "weight_scales must hold at least one value"),
    ({"ridges": (0.0,)}, "ridges must be finite and in"),
    ({"n_windows": 15}, r"n_windows must be in \[1, 14\], got 15"),
    ({"input_share": 0.0}, "input_share must be finite and in"),
])
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        spoken_digits.validate(dataclasses.replace(spoken_digits.Config.smoke(), **change))

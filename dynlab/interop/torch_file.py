"""Read a file that ``torch.save(model.state_dict(), path)`` wrote, with the standard library and NumPy.

The file is a zip archive: ``NAME/data.pkl`` is a pickle that describes the tensors, ``NAME/data/KEY`` holds the numbers
of one storage each. A pickle can name any function and have it called; this reader knows a handful of names, builds
inert records for them and refuses every other name, so reading a file runs nothing that the file chose.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# PyTorch's name of a storage -> the NumPy dtype of its elements
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
ADVICE = "in PyTorch, write it with torch.save(model.state_dict(), path)"
MAX_DEPTH = 16


class _StorageType(NamedTuple):
    """Stands for a storage class of PyTorch."""

    name: str


class _Storage(NamedTuple):
    """A record of the archive and how to read it."""

    dtype: str
    key: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, in elements."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _Reader(pickle.Unpickler):
    """An unpickler for which only the names of a state_dict exist.

    What it hands out is immutable, so a hostile pickle has nothing to alter either.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for one of PyTorch's names; ValueError for any other."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return self._tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return self._parameter
        if module == "torch" and name in STORAGES:
            return _StorageType(name)
        if module == "torch" and name.endswith("Storage"):
            raise ValueError(f"holds a tensor of type {name}, allowed are {', '.join(STORAGES)}")
        if module == "torch._utils":
            raise ValueError(f"holds a tensor that {name} makes (quantised, sparse or the like), allowed are dense "
                             f"ones of type {', '.join(STORAGES)}")
        raise ValueError(f"holds {module}.{name}, which a state_dict has not: a whole module or another object")

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage by what the pickle says of it."""
        kind, storage, key, _, size = pid
        if kind != "storage" or not isinstance(storage, _StorageType) or not isinstance(key, str):
            raise ValueError(f"refers to {pid!r}, which is no storage")
        return _Storage(STORAGES[storage.name], key, _count(size))

    def _tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, meta: Any = None
    ) -> _Tensor:
        if meta:
            raise ValueError(f"holds a tensor with the flags {meta!r}, allowed are none")
        return _Tensor(storage, offset, size, stride)

    def _parameter(self, data: Any, grad: Any, hooks: Any) -> Any:
        return data


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state_dict in a file that ``torch.save`` wrote, as NumPy arrays. Nothing in the file is executed.

    Args:
        path: a file of PyTorch's zip format (PyTorch 1.6 or later). A checkpoint, a dictionary that holds a state_dict
            beside other entries, is read too.

    Returns:
        A dictionary of arrays; bfloat16 becomes float32, which holds it exactly. Other values (numbers, strings, nested
        dictionaries and lists) stay as they are.

    Raises:
        ValueError: a whole pickled module, a TorchScript or legacy file, a damaged file, a tensor of another dtype
            (quantised, complex); it names what was found.
        OSError: no file at the path.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is not a file of PyTorch's zip format (it may be of the format before PyTorch "
                             f"1.6, or of another program): {ADVICE}")
        try:
            with zipfile.ZipFile(file) as archive:
                found = _load(archive)
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(f"{path} {error if type(error) is ValueError else f'is damaged ({error!r})'}; {ADVICE}"
                             ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds one {type(found).__name__}, not a dictionary of tensors; {ADVICE}")
    return found


def _load(archive: zipfile.ZipFile) -> Any:
    """What the archive holds, with arrays for tensors."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"must hold one NAME/data.pkl, got {names[:6]}")
    root = pickles[0].removesuffix("data.pkl")
    if root + "constants.pkl" in names:
        raise ValueError("is a TorchScript archive")
    order = archive.read(root + "byteorder").decode() if root + "byteorder" in names else "little"
    if order not in ("little", "big"):
        raise ValueError(f"has the byte order {order!r}, allowed are 'little' and 'big'")
    described = _Reader(io.BytesIO(archive.read(pickles[0]))).load()
    storages: dict[_Storage, np.ndarray] = {}

    def convert(value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, _Tensor):
            if not isinstance(value.storage, _Storage):
                raise ValueError(f"holds a tensor without a storage, got {value.storage!r}")
            if value.storage not in storages:
                storages[value.storage] = _read(archive, root, order, value.storage)
            return _view(storages[value.storage], value)
        if isinstance(value, Mapping):
            return {key: convert(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, (list, tuple)) and not isinstance(value, (_Storage, _StorageType)):
            return [convert(inner, depth + 1) for inner in value]
        return value

    return convert(described)


def _read(archive: zipfile.ZipFile, root: str, order: str, storage: _Storage) -> np.ndarray:
    """The elements of one storage, (size,)."""
    dtype = np.dtype("uint16" if storage.dtype == "bfloat16" else storage.dtype)
    info = archive.getinfo(f"{root}data/{storage.key}")
    if info.file_size != storage.size * dtype.itemsize or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"must hold {storage.size * dtype.itemsize} bytes, uncompressed, in data/{storage.key}, got "
                         f"{info.file_size}")
    read = np.frombuffer(archive.read(info), dtype.newbyteorder("<" if order == "little" else ">")).astype(dtype)
    if storage.dtype == "bfloat16":  # the upper half of a float32
        return (read.astype(np.uint32) << 16).view(np.float32)
    return read


def _view(flat: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """The tensor as a contiguous array, its offset and strides honoured."""
    size, stride = (tuple(_count(n) for n in each) for each in (tensor.size, tensor.stride))
    offset, count = _count(tensor.offset), math.prod(size)
    if len(size) != len(stride):
        raise ValueError(f"holds a tensor of size {size} with strides {stride}")
    if count == 0:
        return np.empty(size, flat.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= flat.size or count > flat.size:
        raise ValueError(f"holds a tensor of size {size}, strides {stride} and offset {offset} in a storage of "
                         f"{flat.size} elements")
    steps = tuple(step * flat.itemsize for step in stride)
    return np.array(np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False), order="C")


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"holds {value!r} where a size, stride or offset belongs")
    return value

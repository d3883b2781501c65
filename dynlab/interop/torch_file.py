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
import pickletools
import zipfile
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
MAX_PICKLE = 2**24  # bytes; about 200 describe a tensor
MAX_WIDTH = 16  # unfolded values for each byte of the pickle: a shared tuple counts at each place that refers to it
GROWS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")  # instructions that fill a container
MAX_VIEWS = 8  # bytes of arrays for each byte of the file: tensors may be views of one storage


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


class _Function:
    """Stands for a function of PyTorch; the BUILD instruction of a pickle finds no attribute to set on it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError("holds attributes of a function, which a state_dict has not")


class _MakeTensor(_Function):
    """``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, meta: Any = None
    ) -> _Tensor:
        if meta:
            raise ValueError(f"holds a tensor with the flags {_short(meta)}, allowed are none")
        return _Tensor(storage, offset, size, stride)


class _MakeParameter(_Function):
    """``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, data: Any, grad: Any, hooks: Any) -> Any:
        return data


FUNCTIONS = {"_rebuild_tensor_v2": _MakeTensor(), "_rebuild_parameter": _MakeParameter()}


class Foreign:
    """Stands for an object of another class than a state_dict has, such as a training script's options.

    Attributes:
        attributes: those of its attributes that are numbers, texts, truth values or None, by their names.
    """

    __slots__ = ("attributes",)

    def __new__(cls, *args: Any, **kwargs: Any) -> Foreign:
        """What the object was made of is forgotten."""
        made = object.__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        plain = (type(None), bool, int, float, str)
        if type(state) is dict:
            self.attributes = {key: value for key, value in state.items() if type(key) is str and type(value) in plain}

    def append(self, *args: Any) -> None:
        """What a pickle puts into the object is forgotten too."""

    extend = add = __setitem__ = append


class _Reader(pickle.Unpickler):
    """An unpickler for which only the names of a state_dict exist, and those of `objects` stand for nothing.

    What it hands out is immutable, so a hostile pickle has nothing to alter either.
    """

    def __init__(self, file: io.BytesIO, objects: bool) -> None:
        pickle.Unpickler.__init__(self, file)
        self._objects = objects

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for one of PyTorch's names; ValueError for any other."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in FUNCTIONS:
            return FUNCTIONS[name]
        if module == "torch" and name in STORAGES:
            return _StorageType(name)
        if self._objects:
            return type("Foreign", (Foreign,), {"__slots__": ()})  # a class of its own: what is shared cannot change
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
            raise ValueError(f"refers to {_short(pid)}, which is no storage")
        return _Storage(STORAGES[storage.name], key, _count(size))


def read_torch_file(path: str | os.PathLike[str], *, objects: bool = False) -> dict[str, Any]:
    """The state_dict in a file that ``torch.save`` wrote, as NumPy arrays. Nothing in the file is executed.

    Args:
        path: a file of PyTorch's zip format (PyTorch 1.6 or later). A checkpoint, a dictionary that holds a state_dict
            beside other entries, is read too.
        objects: go on where the file holds objects of other classes, as the checkpoints of a training script do beside
            the weights (options, schedulers, random states): each becomes a :class:`Foreign`. False refuses the file.

    A small file cannot make the reader work long or fill the memory: what is nested deeper than 16 levels, refers to
    the same values too often, or has views many times larger than the file, is refused.

    Returns:
        A dictionary of arrays, one array where entries are tied; bfloat16 becomes float32, which holds it exactly.
        Other values (numbers, strings, nested dictionaries and lists) stay as they are.

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
                found = _load(archive, objects)
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(f"{path} {error if type(error) is ValueError else f'is damaged ({error!r})'}; {ADVICE}"
                             ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds one {type(found).__name__}, not a dictionary of tensors; {ADVICE}")
    return found


def _load(archive: zipfile.ZipFile, objects: bool) -> Any:
    """What the archive holds, with arrays for tensors."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"must hold one NAME/data.pkl, got {names[:6]}")
    root = pickles[0].removesuffix("data.pkl")
    if root + "constants.pkl" in names:
        raise ValueError("is a TorchScript archive")
    order = _small(archive, root + "byteorder", 16).decode() if root + "byteorder" in names else "little"
    if order not in ("little", "big"):
        raise ValueError(f"has the byte order {order!r}, allowed are 'little' and 'big'")
    description = _small(archive, pickles[0], MAX_PICKLE)
    _refuse_bombs(description)
    return _Contents(archive, root, order).convert(_Reader(io.BytesIO(description), objects).load())


def _small(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A record of at most so many bytes."""
    size = archive.getinfo(name).file_size
    if size > most:
        raise ValueError(f"must hold at most {most:,} bytes in {name}, got {size:,}")
    return archive.read(name)


def _refuse_bombs(description: bytes) -> None:
    """Refuse a pickle whose values are much larger, or deeper, than its bytes: hashing such a key would take for ever.

    Follows the stack of the pickle machine with (size, depth) in the place of values; a value of the memo counts anew
    wherever it is used.
    """
    most = max(10_000, MAX_WIDTH * len(description))
    stack: list[tuple[int, int] | None] = []  # None is a mark
    memo: dict[Any, tuple[int, int] | None] = {}
    for opcode, argument, _ in pickletools.genops(description):
        name, before = opcode.name, opcode.stack_before
        if name == "MARK":
            stack.append(None)
        elif name.endswith("GET"):
            stack.append(memo[argument])
        elif name.endswith("PUT") or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = stack[-1]
        else:
            below, taken = len(before), []
            if pickletools.markobject in before:
                below = before.index(pickletools.markobject)
                while (item := stack.pop()) is not None:
                    taken.append(item)
            under = [item for item in (stack.pop() for _ in range(below)) if item is not None]
            depth = under.pop()[1] if name in GROWS else 1
            taken += under
            depth = max(depth, 1 + max((item[1] for item in taken), default=0))
            size = 1 + sum(item[0] for item in taken)
            if size > most or depth > 4 * MAX_DEPTH:
                raise ValueError("nests values too deeply, or refers to the same ones too often, for a state_dict")
            stack += [(size, depth)] * len(opcode.stack_after)


class _Contents:
    """Turns what the pickle describes into arrays, each value once, and keeps account of what was read."""

    def __init__(self, archive: zipfile.ZipFile, root: str, order: str) -> None:
        self._archive, self._root, self._order = archive, root, order
        self._storages: dict[_Storage, np.ndarray] = {}
        self._done: dict[int, tuple[Any, Any]] = {}  # id -> (the value, which keeps its id, and what became of it)
        self._size = max(os.fstat(archive.fp.fileno()).st_size, 4096)  # type: ignore[union-attr]
        self._read = self._viewed = 0

    def convert(self, value: Any, depth: int = 0) -> Any:
        """A value with arrays for tensors."""
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        if id(value) in self._done:
            return self._done[id(value)][1]
        made = value
        if isinstance(value, _Tensor):
            made = self._tensor(value)
        elif isinstance(value, dict):  # dict.items: an attribute of the instance may hide the method
            made = {key: self.convert(inner, depth + 1) for key, inner in dict.items(value)}
        elif isinstance(value, (list, tuple)) and not isinstance(value, (_Storage, _StorageType)):
            made = [self.convert(inner, depth + 1) for inner in value]
        self._done[id(value)] = (value, made)
        return made

    def _tensor(self, tensor: _Tensor) -> np.ndarray:
        storage = tensor.storage
        if not isinstance(storage, _Storage):
            raise ValueError(f"holds a tensor without a storage, got {_short(storage)}")
        if storage not in self._storages:
            flat = self._storages[storage] = _read(self._archive, self._root, self._order, storage)
            self._read += flat.nbytes
        view = _view(self._storages[storage], tensor)
        self._viewed += view.nbytes
        if max(self._read, self._viewed) > MAX_VIEWS * self._size:
            raise ValueError(f"holds tensors of more than {MAX_VIEWS} times the {self._size:,} bytes of the file")
        return view


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
    if not isinstance(tensor.size, tuple) or not isinstance(tensor.stride, tuple) or len(tensor.size) > 64:
        raise ValueError(f"holds a tensor of size {_short(tensor.size)}, which is no tuple of up to 64 numbers")
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
        raise ValueError(f"holds {_short(value)} where a size, stride or offset belongs")
    return value


def _short(value: Any) -> str:
    """A value for a message: a number or a short text, else its type (the repr of nested values can be endless)."""
    plain = value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**64)
    if plain or (type(value) is str and len(value) < 100):
        return repr(value)
    return f"a {type(value).__name__}"

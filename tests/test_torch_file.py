"""The reader of torch.save's files: numbers as PyTorch wrote them, and nothing of the file is executed."""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import itertools
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dynlab.interop import read_torch_file

FIXTURES = Path(__file__).parent / "fixtures"


def test_every_dtype_view_and_flag():
    found = read_torch_file(FIXTURES / "odd.pt")
    base = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    expected = {"base": base, "transposed": base.T, "part": base[1:, ::2], "empty": base[:0], "scalar": base[2, 3]}
    for name in ("float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        expected[name] = np.array([0, 1, 3]).astype(name)
    expected["bfloat16"] = np.array([0, 1, 3], np.float32)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        np.testing.assert_array_equal(found[name], want, err_msg=name)
        assert found[name].dtype == want.dtype, name
        assert found[name].flags.c_contiguous or found[name].ndim == 0


def test_parameters_in_a_checkpoint():
    found = read_torch_file(FIXTURES / "checkpoint.pt")
    assert found["epoch"] == 3
    assert found["state_dict"].keys() == {
        *(f"rnn.{kind}_l{i}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") for i in (0, 1)),
        "head.weight", "head.bias",
    }


def test_against_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    values = {"a": torch.randn(4, 5, 6).permute(2, 0, 1)[:, 1:, ::2], "b": torch.randn(7).to(torch.bfloat16),
              "c": torch.nn.Parameter(torch.randn(2, 2, dtype=torch.float64)), "d": torch.randint(-5, 5, (3,))}
    values["tied"] = values["c"]
    for protocol in (2, 4, 5):
        torch.save(values, tmp_path / "x.pt", pickle_protocol=protocol)
        found = read_torch_file(str(tmp_path / "x.pt"))
        for name, value in values.items():
            want = value.detach().float() if name == "b" else value.detach()  # NumPy has no bfloat16
            np.testing.assert_array_equal(found[name], want.numpy())
            assert found[name].dtype == want.numpy().dtype


class Name:
    """Pickles as a global name, as PyTorch's own classes do."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage(tuple):
    """Pickles as a persistent id."""


class Call:
    """Pickles as the call of a global name with arguments, and perhaps a state to set."""

    def __init__(self, name: Name, *args: object, state: object = None) -> None:
        self.parts = (name, args) if state is None else (name, args, state)


class Build:
    """Pickles as an object and a state to set on it."""

    def __init__(self, of: object, state: object) -> None:
        self.parts = (of, state)


class Key:
    """Pickles as a dictionary with one key, which is not hashed here."""

    def __init__(self, key: object) -> None:
        self.key = key


class Writer(pickle._Pickler):
    """A pickler in Python that writes those five as a file of torch.save has them."""

    def persistent_id(self, obj):
        return tuple(obj) if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.parts[0])
            self.save(obj.parts[1])
            self.write(pickle.REDUCE)
            if len(obj.parts) == 3:
                self.save(obj.parts[2])
                self.write(pickle.BUILD)
        elif isinstance(obj, Build):
            for part in obj.parts:
                self.save(part)
            self.write(pickle.BUILD)
        elif isinstance(obj, Key):
            self.write(pickle.EMPTY_DICT)
            self.save(obj.key)
            self.save(1)
            self.write(pickle.SETITEM)
        else:
            super().save(obj, save_persistent_id)


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


def storage(key: object = "0", size: object = 6, kind: str = "FloatStorage") -> Storage:
    return Storage(("storage", Name("torch", kind), key, "cpu", size))


def tensor(offset=0, size=(2, 3), stride=(3, 1), of=None, **state) -> Call:
    where = storage() if of is None else of
    return Call(REBUILD, where, offset, size, stride, False, collections.OrderedDict(), **state)


def write(path: Path, value: object, order: str = "little", records: dict[str, bytes] | None = None,
          compression: int = zipfile.ZIP_STORED) -> Path:
    """A file like torch.save's, with six float32 numbers in record 0."""
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(value)
    numbers = np.arange(6, dtype="<f4" if order == "little" else ">f4").tobytes()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", buffer.getvalue())
        archive.writestr("x/byteorder", order)
        for name, raw in ({"x/data/0": numbers} if records is None else records).items():
            archive.writestr(name, raw)
    return path


@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_order(order, tmp_path):
    found = read_torch_file(write(tmp_path / "x.pt", {"w": tensor()}, order))
    np.testing.assert_array_equal(found["w"], np.arange(6.0).reshape(2, 3))
    assert found["w"].dtype == np.float32


CALLED = []


def remember(*args):
    CALLED.append(args)


HOSTILE = {
    "a system command": Call(Name("os", "system"), "touch ran"),
    "an eval": Call(Name("builtins", "eval"), "open('ran', 'w')"),
    "a function of this test": Call(Name(__name__, "remember"), 1),
    "torch.load itself": Call(Name("torch", "load"), "x"),
    "a module's builder": Call(Name("torch._utils", "_import_dotted_name"), "os.system"),
    "a dotted name": Call(Name("collections", "OrderedDict.fromkeys"), "ab"),
    "attributes for the builder": Call(Name("collections", "OrderedDict"), state=(None, {"__class__": dict})),
    "attributes for a tensor": tensor(state=(None, {"storage": 1})),
    "attributes of the tensor's function": Build(REBUILD, {"__call__": 1}),
    "slots of the tensor's function": Build(REBUILD, (None, {"__call__": 1, "__class__": 2})),
    "attributes of the parameter's function": Build(Name("torch._utils", "_rebuild_parameter"), {"__call__": 1}),
    "attributes of a storage type": Build(Name("torch", "FloatStorage"), {"name": "os"}),
    "slots of a storage type": Build(Name("torch", "FloatStorage"), (None, {"name": "os"})),
    "attributes of a storage": Build(storage(), (None, {"dtype": "object"})),
    "attributes of a tensor": tensor(state={"storage": 1}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_in_a_file_is_executed(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"x\.pt (holds|is damaged).*torch\.save\(model\.state_dict\(\), path\)"):
        read_torch_file(write(tmp_path / "x.pt", {"w": HOSTILE[case]}))
    assert not CALLED
    assert os.listdir(tmp_path) == ["x.pt"]


def test_the_hostile_pickles_are_real(tmp_path, monkeypatch):
    """Python's own unpickler runs them: what the test above shows is the reader's doing."""
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(HOSTILE["an eval"])
    pickle.loads(buffer.getvalue()).close()
    assert os.listdir(tmp_path) == ["ran"]


def doubled(value: object, times: int, join=list) -> object:
    """A small value whose unfolded size is 2 to the power of `times`."""
    for _ in range(times):
        value = join((value, value))
    return value


def test_shared_references_are_read_once(tmp_path):
    """14 levels of lists unfold to 16,384 tensors, 60 to more than any memory; each value is converted once."""
    found = read_torch_file(write(tmp_path / "x.pt", {"w": doubled(tensor(), 14), "v": None}))["w"]
    for _ in range(13):
        assert len(found) == 2
        assert found[0] is found[1]
        found = found[0]
    np.testing.assert_array_equal(found, [np.arange(6.0).reshape(2, 3)] * 2)
    with pytest.raises(ValueError, match=r"too deeply|levels deep"):
        read_torch_file(write(tmp_path / "x.pt", {"w": doubled([], 60)}))


def later(levels: int) -> list:
    """The same, but each list is filled after it was referred to: the pickle does not show how large it will be."""
    lists: list[list] = [[] for _ in range(levels)]
    for outer, inner in itertools.pairwise(lists):
        outer += [inner, inner]
    return [lists, lists[0]]


ROUND: list = []
ROUND.append(ROUND)
BOMBS = {
    "a list that holds itself": ROUND,
    "lists": doubled([], 40),
    "lists filled later": later(40),
    "a key that takes for ever to hash": Key(doubled((1,), 40, tuple)),
    "a key as deep as the stack of C": Key(functools.reduce(lambda inner, _: (inner,), range(200), ())),
    "a storage named by it": tensor(of=Storage(("storage", doubled([], 40), "0", "cpu", 6))),
    "a size of it": tensor(size=(doubled([], 40),)),
    "a wide description": ["x" * 2**24],
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("case", BOMBS)
def test_small_files_do_not_cost_much(case, tmp_path):
    started = time.process_time()
    words = r"too deeply|levels deep|at most 16,777,216 bytes|refers to a tuple|holds a list"
    with pytest.raises(ValueError, match=words):
        read_torch_file(write(tmp_path / "x.pt", {"w": BOMBS[case]}))
    assert time.process_time() - started < 5


def test_views_do_not_fill_the_memory(tmp_path):
    """Each view is as large as its storage; a file may hold 8 times its own size of them."""
    records = {"x/data/0": bytes(400_000)}
    views = [tensor(size=(100_000,), stride=(1,), of=storage(size=100_000)) for _ in range(9)]
    assert len(read_torch_file(write(tmp_path / "x.pt", {"w": views[:8]}, records=records))["w"]) == 8
    with pytest.raises(ValueError, match=r"holds tensors of more than 8 times the 40\d,\d+ bytes of the file"):
        read_torch_file(write(tmp_path / "x.pt", {"w": views}, records=records))


REFUSED = {
    "beyond the storage": ({"w": tensor(offset=1)}, r"size \(2, 3\), strides \(3, 1\) and offset 1 in a storage of 6"),
    "larger than the storage": ({"w": tensor(size=(10**9, 10**9), stride=(0, 0))}, r"in a storage of 6 elements"),
    "negative stride": ({"w": tensor(stride=(-3, 1))}, r"holds -3 where a size, stride or offset belongs"),
    "fractional size": ({"w": tensor(size=(1.5, 1))}, r"holds 1.5 where"),
    "strides of another rank": ({"w": tensor(stride=(1,))}, r"size \(2, 3\) with strides \(1,\)"),
    "no such record": ({"w": tensor(of=storage("1"))}, r"is damaged \(KeyError"),
    "another record size": ({"w": tensor(of=storage(size=7))}, r"must hold 28 bytes, uncompressed, in data/0, got 24"),
    "no storage": ({"w": tensor(of="0")}, r"holds a tensor without a storage, got '0'"),
    "complex": ({"w": tensor(of=storage(kind="ComplexFloatStorage"))}, r"type ComplexFloatStorage, allowed are Double"),
    "quantised": ({"w": tensor(of=storage(kind="QInt8Storage"))}, r"type QInt8Storage, allowed are Double"),
    "one tensor": (tensor(), r"holds one ndarray, not a dictionary"),
    "a list": ([tensor()], r"holds one list, not a dictionary"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_contents(case, tmp_path):
    value, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        read_torch_file(write(tmp_path / "x.pt", value))


@pytest.mark.parametrize(("name", "message"), [
    ("module.pt", r"holds torch\.nn\.modules\.container\.ModuleDict, which a state_dict has not"),
    ("legacy.pt", r"is not a file of PyTorch's zip format"),
    ("quantised.pt", r"holds a tensor that _rebuild_qtensor makes \(quantised"),
    ("torch.npz", r"must hold one NAME/data\.pkl"),
    ("record_networks.py", r"is not a file of PyTorch's zip format"),
])
def test_refused_files(name, message):
    with pytest.raises(ValueError, match=message + r".*torch\.save\(model\.state_dict\(\), path\)"):
        read_torch_file(FIXTURES / name)


def test_damaged_and_odd_archives(tmp_path):
    whole = (FIXTURES / "state_dict.pt").read_bytes()
    for i in range(0, len(whole), 97):  # a bit flipped anywhere: refused or read, never another error
        (tmp_path / "x.pt").write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        with contextlib.suppress(ValueError):
            read_torch_file(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a file of PyTorch's zip format"):
        read_torch_file(tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"uncompressed, in data/0"):
        read_torch_file(write(tmp_path / "x.pt", {"w": tensor()}, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match=r"byte order 'middle'"):
        read_torch_file(write(tmp_path / "x.pt", {"w": tensor()}, "middle"))
    with pytest.raises(ValueError, match=r"is a TorchScript archive"):
        read_torch_file(write(tmp_path / "x.pt", {"w": tensor()}, records={"x/constants.pkl": b""}))
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "none.pt")

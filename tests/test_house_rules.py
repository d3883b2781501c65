"""Rules of this code base that a program can check. docs/contributing.md says why they are there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dynlab

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "dynlab").rglob("*.py"))
PYTHON = sorted(path for folder in ("dynlab", "experiments", "tests", "docs") for path in (ROOT / folder).rglob("*.py"))

# Imports go one way. A part is a file or folder of dynlab/; to the right is what it may import besides itself.
BASE = {"protocol", "tree", "check", "keys"}
SPINE = BASE | {"simulation", "discretize", "combine"}
UPPER = SPINE | {"models", "readout", "plasticity", "analysis", "train", "metrics"}
ALLOWED = {
    "protocol": BASE,
    "tree": BASE,
    "check": BASE,
    "keys": BASE,
    "simulation": SPINE,
    "discretize": SPINE,
    "combine": SPINE,
    "models": SPINE,
    "metrics": BASE,
    "readout": UPPER,
    "plasticity": UPPER,
    "train": UPPER,
    "analysis": UPPER - {"models"},  # an analysis knows the protocol, never a concrete model
    "tasks": {"tree", "check"},
    "data": {"tree", "check"},
    "interop": UPPER,
    "plots": BASE,
    "sweep": UPPER | {"sweep"},
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "dynlab").parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of dynlab that a file imports, wherever in the file it does so."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            modules |= {f"{base}.{alias.name}" for alias in node.names} if base == "dynlab" else {base}
    return {module.split(".")[1] for module in modules if module.startswith("dynlab.")}


@pytest.mark.parametrize("path", [path for path in LIBRARY if path != ROOT / "dynlab" / "__init__.py"], ids=name_of)
def test_imports_go_one_way(path):
    part = part_of(path)
    assert part in ALLOWED, f"dynlab/{part} is new: say in ALLOWED what it may import"
    wrong = imported_parts(path) - ALLOWED[part] - {part}
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}; dynlab/{part} may import {sorted(ALLOWED[part])}"


def test_parts_import_without_a_cycle():
    graph: dict[str, set[str]] = {}
    for path in LIBRARY:
        if path != ROOT / "dynlab" / "__init__.py":
            graph.setdefault(part_of(path), set()).update(imported_parts(path) - {part_of(path)})
    while graph:
        free = {part for part, needs in graph.items() if not needs & graph.keys()}
        assert free, f"these parts import each other in a circle: {sorted(graph)}"
        graph = {part: needs for part, needs in graph.items() if part not in free}


def test_library_imports_nothing_above_it():
    for path in LIBRARY:
        found = re.search(r"^\s*(?:from|import) (experiments|tests)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found is None, f"{name_of(path)} imports {found and found[1]}"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_no_file_is_over_400_lines(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{name_of(path)} has {lines} lines: split it"


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, the docstring left out."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring and first.end_lineno else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_functions_are_short_and_classes_plain(path):
    """At most 60 lines unless the ``def`` line says ``# long: why``; no super(), no __post_init__, no global state."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            excused = "# long:" in text.splitlines()[node.lineno - 1]
            assert excused or body_length(node) <= 60, f"{where} {node.name} has {body_length(node)} lines"
            assert node.name != "__post_init__", f"{where}: constructors only store; validate in init"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "super", f"{where}: classes are abstract or final, super() is not needed"
            assert called != "jax.random.PRNGKey", f"{where}: keys are typed, jax.random.key"
            assert not called.endswith("config.update"), f"{where}: the library changes no jax setting"


def test_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == project["version"] == dynlab.__version__
    changelog = (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8")
    assert f"## {dynlab.__version__}" in changelog


def test_constraints_pin_every_requirement():
    """Each dependency of each extra has a pin, also jax itself for old and new Pythons."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(need for extra in project["optional-dependencies"].values() for need in extra),
    ]
    names = {re.match(r"[\w.-]+", need)[0].lower().replace("_", "-") for need in wanted} - {"dynlab"}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    missing = names - {pin.split("==")[0] for pin in pins}
    assert not missing, f"compile constraints.txt anew (docs/contributing.md): no pin for {sorted(missing)}"
    assert not [pin for pin in pins if re.match(r"jax(lib)?==0\.(10\.|11\.0)", pin)]


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "dev", ".ci/run"])
def test_nothing_installs_from_an_address(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_no_machine_specific_lock_file_is_kept():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    locks = {"uv.lock", "pylock.toml", "package-lock.json", ".npmrc", "pip.conf"}
    assert not locks & {Path(line).name for line in done.stdout.splitlines()}


def test_public_names_exist_and_are_documented():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto(?:class|function|data):: (?:dynlab\.)?(\w+)", page, re.MULTILINE)
    assert sorted(documented) == sorted(set(documented)), "a name is documented twice"
    public = set(dynlab.__all__) - {"__version__"}
    assert public == set(documented), "docs/api.md and dynlab.__all__ differ"
    for name in public:
        assert (getattr(dynlab, name).__doc__ or "").strip(), f"dynlab.{name} has no docstring"


def in_new_process(code: str, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("matplotlib", "xarray", "diffrax", "optax", "orbax", "pandas", "h5netcdf", "tyro")


def test_import_is_light_and_changes_nothing():
    """Importing dynlab, and reaching for every public name, loads no heavy package and leaves jax's settings alone."""
    code = (
        "import sys, jax; before = dict(jax.config.values); import dynlab\n"
        "for name in dynlab.__all__: getattr(dynlab, name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], dict(jax.config.values) == before)"
    )
    assert in_new_process(code) == "[] True"


def test_import_takes_little_longer_than_jax(tmp_path):
    """At most 1.3 times ``import jax``, every public name loaded: processor time, in one process, best of four.

    From bytecode, as installed packages are: where Python is told not to write it, dynlab alone would be compiled at
    each import. The first run writes it and does not count.
    """
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    code = (
        "import time, jax; first = time.process_time(); import dynlab\n"
        "for name in dynlab.__all__: getattr(dynlab, name)\n"
        "print(first, time.process_time())"
    )
    runs = [tuple(map(float, in_new_process(code, **bytecode).split())) for _ in range(5)][1:]
    jax_alone, ours = min(runs, key=lambda run: run[1] / run[0])
    assert ours <= 1.3 * jax_alone, f"import dynlab {ours:.2f} s, import jax {jax_alone:.2f} s"

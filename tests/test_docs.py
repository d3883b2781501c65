"""The pages are true: their Python runs, their links lead somewhere, the commands they name exist.

The ```python fences of a page run in order, as one program, in an empty folder. A fence that starts with
```python no-run is only shown.
"""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def program(text: str) -> str:
    """The page's fences, each at its own line, so that an error names the line of the page."""
    lines = [""] * len(text.splitlines())
    for fence in FENCE.finditer(text):
        start = text.count("\n", 0, fence.start(1))
        code = fence[1].splitlines()
        lines[start : start + len(code)] = code
    return "\n".join(lines)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if FENCE.search(page.read_text(encoding="utf-8"))], ids=page_name
)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = program(page.read_text(encoding="utf-8"))
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses look their module up by name
    exec(compile(source, str(page), "exec"), module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_fences_are_python_and_closed(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, "a fence is not closed"
    ast.parse(program(text))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page_name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_exist(page):
    """Every ./dev command is one, and every experiment that is run by name is there."""
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"^  (\w+)", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\./dev ([a-z]+)", text)) <= commands
    names = set(re.findall(r"(?:\./dev run|python -m experiments) ([a-z]\w*)", text))
    missing = {name for name in names if not (ROOT / "experiments" / f"{name}.py").exists()}
    assert not missing


def test_every_page_is_in_the_site():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"}
    listed = set(re.findall(r"^([\w-]+)$", index, re.MULTILINE))
    assert pages <= listed, f"add to the toctree of docs/index.md: {sorted(pages - listed)}"

"""The documentation runs: every Python block, in order, one namespace a page."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(page.read_text(encoding="utf-8"))
]
# Compiles the gradient of a whole registration, and its vmap.
SLOW = "composing.md"


def as_parameter(page: pathlib.Path):
    return pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name == SLOW else ())


@pytest.mark.parametrize("page", [as_parameter(page) for page in PAGES])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # whatever a page writes, it writes there
    text = page.read_text(encoding="utf-8")
    namespace = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        # Empty lines in front give an error the page's own line numbers.
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)


def test_the_pages_for_programmers_are_among_them():
    assert {"README.md", "composing.md", "export.md", "scaling.md"} <= {page.name for page in PAGES}

"""README, docs and docstrings run.

Every ```python block of a page runs, top to bottom, all blocks of one page in one namespace and in an empty
folder; a block written as a session (>>>) must print what it says. So must every example in a docstring:
docstrings are read from the source, so none is missed because doctest does not look into a decorated object.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if page.exists()]
PAGES += sorted((ROOT / "docs").glob("**/*.md"))
SOURCES = sorted(file for package in ("tinygrad_rnn", "visual") for file in (ROOT / package).rglob("*.py"))
OPTIONAL = {"cupy", "llvmlite", "matplotlib", "mpi4py", "safetensors", "torch", "tqdm"}

FENCE = re.compile(r"^(?P<indent>[ ]*)```python\b[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.M | re.S)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and code of every ```python block."""
    text = page.read_text("utf-8")
    for block in FENCE.finditer(text):
        yield text[: block.start("code")].count("\n"), textwrap.dedent(block["code"])


def run_page(page: Path) -> None:
    """Run the page's blocks in one namespace; a traceback points into the page."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for line, code in blocks(page):
        if ">>>" in code:
            run_session(code, namespace, page, line)
        else:
            exec(compile("\n" * line + code, str(page), "exec"), namespace)


def run_session(text: str, namespace: dict[str, Any], file: Path, line: int) -> None:
    """Run >>> examples, which see the namespace and add to it."""
    session = doctest.DocTestParser().get_doctest(text, namespace, file.name, str(file), line)
    left_out = [example.source for example in session.examples if doctest.SKIP in example.options]
    assert not left_out, f"{file}: examples are run, not skipped: {left_out}"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(session, out=said.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    namespace.update(session.globs)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line number and text of every string that stands alone and holds an example."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if ">>>" in text:
                yield node.lineno - 1, text


def run_docstrings(file: Path, module: str) -> None:
    """Import the module and run the examples of its docstrings, each in a fresh copy of its names."""
    try:
        names = vars(importlib.import_module(module))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{module} needs {missing.name}")
    for line, text in docstrings(file.read_text("utf-8")):
        run_session(text, dict(names), file, line)


def dotted(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# -- the claims ----------------------------------------------------------------------------------------


def test_the_readme_is_there_and_shows_code():
    assert (ROOT / "README.md").exists()
    assert list(blocks(ROOT / "README.md")), "README.md has no ```python block"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("file", SOURCES, ids=dotted)
def test_the_examples_of_a_module_run(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_docstrings(file, dotted(file))


# -- and that they can fail ----------------------------------------------------------------------------


def write(folder: Path, *code: str) -> Path:
    page = folder / "page.md"
    page.write_text("# Title\n" + "".join(f"\nwords\n\n```python\n{part}\n```\n" for part in code), "utf-8")
    return page


def test_blocks_of_a_page_share_their_names(tmp_path):
    run_page(write(tmp_path, "a = 1", ">>> b = a + 1\n>>> b\n2", "assert (a, b) == (1, 2)"))


@pytest.mark.parametrize("second", ["assert a == 2", ">>> a\n2", ">>> a  # doctest: +SKIP\n2"])
def test_a_wrong_block_is_caught(second, tmp_path):
    with pytest.raises(AssertionError):
        run_page(write(tmp_path, "a = 1", second))


def test_a_traceback_points_into_the_page(tmp_path):
    page = write(tmp_path, "a = 1", "a = a / 0")
    with pytest.raises(ZeroDivisionError) as error:
        run_page(page)
    assert page.read_text("utf-8").splitlines()[error.traceback[-1].lineno] == "a = a / 0"


def test_examples_are_found_wherever_they_stand():
    method = '    @wrap\n    def f(self):\n        """F.\n\n        >>> 2\n        2\n        """\n'
    source = '"""M.\n\n>>> 1\n1\n"""\nclass A:\n' + method
    assert [line for line, _ in docstrings(source)] == [0, 8]

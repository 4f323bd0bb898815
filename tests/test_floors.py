"""The house has floors, and imports go down only.

The table below is the architecture. Imports are read from the source, so those inside functions count as
well, and a module that nobody has imported yet is seen too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {
    "namespaces": 0,
    "scope": 0,
    "tape": 1,
    "tensor": 1,
    "symbols": 1,
    "broadcasting": 0,
    "rows": 1,
    "plan": 2,
    "recorder": 2,
    "primitive": 2,
    "create": 2,
    "modes": 2,
    "sweep": 3,
    "autodiff": 3,
    "ops": 3,
    "derivatives": 4,
    "checkpoint": 4,
    "kernels": 4,
    "unfuse": 4,
    "nn": 5,
    "optim": 5,
    "check": 5,
    "levels": 5,
    "trace": 5,
    "flow": 6,
    "bptt": 6,
    "serialize": 6,
    "train": 6,
    "doctor": 6,
}
"""Module or subpackage of tinygrad_rnn → its floor. The package's own __init__ stands on top of them all."""

UPWARD = {
    ("tape", "plan"): "the type of Node.plan",
}
"""The only imports that may go up, and only in a function or under TYPE_CHECKING: (from, to) → why."""

PICTURES_READ = {"tinygrad_rnn", "tinygrad_rnn.trace", "tinygrad_rnn.flow"}
"""All that visual/ may import of the engine: the public top, and the plain data that it draws."""

OPTIONAL = {"cupy", "graphviz", "llvmlite", "matplotlib", "mpi4py", "safetensors", "torch", "tqdm"}
"""What `import tinygrad_rnn` must not touch."""


class Import(NamedTuple):
    target: str
    line: int
    deferred: bool
    """Not run when the module is imported: inside a function, or under `if TYPE_CHECKING`."""


def imports(module: str, source: str, modules: Collection[str]) -> Iterator[Import]:
    """Every module that the source imports: relative names resolved, `from a import b` as a.b if a module."""
    packages = {name.rpartition(".")[0] for name in modules}
    path = module.split(".")

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            yield from (Import(name, child.lineno, deferred) for name in targets(child))
            yield from walk(child, deferred or defers(child))

    def defers(node: ast.AST) -> bool:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                return True
            case _:
                return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)

    def targets(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                above = path[: len(path) - level + (module in packages)] if level else []
                base = ".".join(above + ([name] if name else []))
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in modules or inner in packages else base
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name

    yield from walk(ast.parse(source), False)


def offences(module: str, source: str, modules: Collection[str]) -> list[str]:
    """One sentence for every import of the source that breaks the order of the house."""
    house, _, room = module.partition(".")
    room = room.partition(".")[0]
    if house == "tinygrad_rnn" and room and room not in FLOORS:
        return [f"{module} stands on no floor: give '{room}' a line in FLOORS (tests/test_floors.py)"]

    found = []
    for target, line, deferred in imports(module, source, modules):
        other_house, _, other = target.partition(".")
        other = other.partition(".")[0]
        here = f"{module}, line {line}: "
        if other_house == "graphviz" and module != "visual.dot":
            found.append(here + "imports graphviz, which only visual/dot.py may")
        elif house == "visual" and other_house == "tinygrad_rnn" and target not in PICTURES_READ:
            readable = ", ".join(sorted(PICTURES_READ))
            found.append(here + f"imports {target}, but pictures read only {readable}")
        elif house == "tinygrad_rnn" and other_house == "visual":
            found.append(here + f"imports {target}, but the engine knows nothing of pictures")
        elif house == "tinygrad_rnn" and other_house == "tinygrad_rnn" and room:
            if not other:
                found.append(here + "imports the top of its own package")
            elif other not in FLOORS:
                found.append(here + f"imports {target}, which stands on no floor")
            elif FLOORS[other] > FLOORS[room] and not (deferred and (room, other) in UPWARD):
                up = f"imports {target} (floor {FLOORS[other]}) from floor {FLOORS[room]}"
                found.append(here + up + ": imports go down only")
    return found


def modules_of(*packages: str) -> dict[str, Path]:
    """Dotted name → file, for all modules of the packages in this checkout."""
    files = (file for package in packages for file in sorted((ROOT / package).rglob("*.py")))
    names = {file: ".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    return {name.removesuffix(".__init__"): file for file, name in names.items()}


def touched_by(statement: str) -> set[str]:
    """The optional packages that a statement tries to import in a fresh interpreter, installed or not."""
    spy = f"""
import sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in {OPTIONAL}:
            print(name)
sys.meta_path.insert(0, Spy())
{statement}
"""
    run = subprocess.run([sys.executable, "-c", spy], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


# -- the claims ----------------------------------------------------------------------------------------


def test_imports_go_down_only():
    modules = modules_of("tinygrad_rnn", "visual")
    assert {"tinygrad_rnn", "tinygrad_rnn.tensor", "visual", "visual.dot"} <= modules.keys()
    sources = {name: file.read_text("utf-8") for name, file in modules.items()}
    found = [sentence for name, source in sources.items() for sentence in offences(name, source, modules)]
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_still_needed():
    modules = modules_of("tinygrad_rnn")
    used = {
        (name.split(".")[1], target.split(".")[1])
        for name, file in modules.items()
        for target, _, _ in imports(name, file.read_text("utf-8"), modules)
        if name.startswith("tinygrad_rnn.") and target.startswith("tinygrad_rnn.")
    }
    assert used >= UPWARD.keys()


def test_importing_the_package_touches_nothing_optional():
    assert touched_by("import tinygrad_rnn") == set()


# -- and that they can fail ----------------------------------------------------------------------------

SOME = {
    "tinygrad_rnn", "tinygrad_rnn.scope", "tinygrad_rnn.tape", "tinygrad_rnn.tensor", "tinygrad_rnn.ops",
    "tinygrad_rnn.ops.index", "tinygrad_rnn.autodiff", "tinygrad_rnn.nn", "tinygrad_rnn.nn.cells",
    "tinygrad_rnn.trace", "visual", "visual.cli", "visual.dot",
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("tinygrad_rnn.tensor", "from tinygrad_rnn import ops", "imports go down only"),
        ("tinygrad_rnn.tensor", "from . import ops", "imports go down only"),
        ("tinygrad_rnn.tensor", "from .ops.index import take", "imports go down only"),
        ("tinygrad_rnn.tensor", "def add(a, b):\n    from . import ops", "imports go down only"),
        ("tinygrad_rnn.tensor", "from .plan import Plan", "imports go down only"),
        ("tinygrad_rnn.tensor", "if TYPE_CHECKING:\n    from .autodiff import grad", "line 2"),
        ("tinygrad_rnn.tensor", "class Tensor:\n    from . import ops", "imports go down only"),
        ("tinygrad_rnn.scope", "def f():\n    import tinygrad_rnn.tensor", "line 2: imports tinygrad_rnn.t"),
        ("tinygrad_rnn.scope", "import importlib\nimportlib.import_module('tinygrad_rnn.nn')", "line 2"),
        ("tinygrad_rnn.ops.index", "from ..nn.cells import LSTMCell", "tinygrad_rnn.nn.cells (floor 5)"),
        ("tinygrad_rnn.ops", "from ..nn import cells", "from floor 3"),
        ("tinygrad_rnn.nn.cells", "from .. import Tensor", "the top of its own package"),
        ("tinygrad_rnn.nn.cells", "from ..attic import x", "tinygrad_rnn.attic, which stands on no floor"),
        ("tinygrad_rnn.attic", "", "give 'attic' a line in FLOORS"),
        ("tinygrad_rnn", "import visual", "knows nothing of pictures"),
        ("tinygrad_rnn.trace", "def draw():\n    from visual.dot import write", "knows nothing of pictures"),
        ("tinygrad_rnn.trace", "import graphviz", "only visual/dot.py"),
        ("visual.cli", "def main():\n    from graphviz import Source", "only visual/dot.py"),
        ("visual.cli", "from tinygrad_rnn.tensor import Node", "pictures read only"),
        ("visual", "from tinygrad_rnn import autodiff", "pictures read only"),
    ],
)
def test_a_wrong_import_is_named(module, source, said):
    (sentence,) = offences(module, source, SOME)
    assert said in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tinygrad_rnn", "from .nn import cells\nfrom . import ops\nfrom .trace import Graph"),
        ("tinygrad_rnn.tensor", "from .scope import here\nimport numpy as np"),
        ("tinygrad_rnn.tape", "if TYPE_CHECKING:\n    from .plan import Plan"),
        ("tinygrad_rnn.ops", "from .index import take\nfrom ..tensor import Tensor"),
        ("tinygrad_rnn.ops.index", "from ..autodiff import grad\nfrom . import x"),
        ("tinygrad_rnn.nn.cells", "def cuda():\n    import cupy"),
        ("visual.cli", "import tinygrad_rnn as tg\nfrom tinygrad_rnn import Graph\nfrom . import dot"),
        ("visual.dot", "import graphviz\nfrom tinygrad_rnn.trace import Graph"),
    ],
)
def test_a_right_import_is_left_alone(module, source):
    assert offences(module, source, SOME) == []


def test_an_optional_package_is_seen_even_where_it_is_missing():
    attempt = "import json\ntry:\n    import llvmlite, cupy\nexcept ImportError:\n    pass"
    assert "llvmlite" in touched_by(attempt)
    assert "json" not in touched_by(attempt)

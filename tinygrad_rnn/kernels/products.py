"""Matrix products for compiled loops: few rows, with a weight that is the same at every step.

At every call BLAS lays a weight out anew before it multiplies, which for the rows of one step can take a
third of the time. Here that is done once per sequence. `pack` cuts the weight into panels, as many columns
as fill a line of the cache, one row of them after the other; `multiply` holds four rows times one panel of
results (of the rows left over, two times two, or one times four) in registers while it runs down the panel.
No compiler finds this by itself, so it is written in LLVM's own language. Every sum is taken in the same
order, however many rows there are: a row's result does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir
import numpy as np

PACK, MULTIPLY = "pack_{}", "multiply_{}"
"""What the functions for a dtype are called."""
TAKEN = {PACK: "iiaiia", MULTIPLY: "iiiiaiiiaaiii"}
"""The kinds of their arguments: an integer of 64 bits, or an array's address."""

LINE = 64
"""Bytes in a line of the cache."""
_BLOCK = 4
"""So many results, rows times panels, are computed together."""
INT = ir.IntType(64)
REALS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}


def panels_shape(depth: int, width: int, dtype: Any) -> tuple[int, int, int]:
    """Of a weight's panels, for depth features in and width out: how many, rows, columns."""
    lanes = LINE // np.dtype(dtype).itemsize
    lanes = lanes if width >= lanes else 1
    return -(-width // (lanes * _BLOCK)) * _BLOCK, depth, lanes


def source(dtype: str) -> str:
    """The functions for a dtype, in LLVM's language.

    pack(depth, width, weight, down, across, panels): the weight has `depth` rows, `down` entries apart, and
    `width` columns, `across` apart. multiply(depth, width, steps, rows, a, a_at, a_step, a_row, panels,
    out, out_at, out_step, out_row): out = a @ weight for some rows of some steps, from the entries `a_at` and
    `out_at` on; steps are `a_step`, `out_step` apart, rows `a_row`, `out_row`.
    """
    module = ir.Module("products")
    lanes = LINE // np.dtype(dtype).itemsize
    for name, write in ((PACK, _pack), (MULTIPLY, _multiply)):
        function = ir.Function(module, kinds(name, REALS[dtype]), name.format(dtype))
        start, wide, narrow = (function.append_basic_block() for _ in range(3))
        b = ir.IRBuilder(start)
        b.cbranch(b.icmp_signed("<", function.args[1], INT(lanes)), narrow, wide)
        for block, columns in ((wide, lanes), (narrow, 1)):
            b.position_at_end(block)
            write(b, columns, *function.args)
            b.ret_void()
    return str(module)


def kinds(name: str, real: Any) -> Any:
    """What a function takes and gives."""
    return ir.FunctionType(ir.VoidType(), [real.as_pointer() if k == "a" else INT for k in TAKEN[name]])


@contextmanager
def counted(
    b: Any, start: Any, stop: Any, step: int = 1, values: Any = ()
) -> Iterator[tuple[Any, list[Any]]]:
    """for i in range(start, stop, step); `values` are carried from turn to turn in the list given."""
    entry = b.block
    head, body, end = (b.append_basic_block() for _ in range(3))
    b.branch(head)
    b.position_at_end(head)
    i, *carried = found = [b.phi(v.type) for v in (start, *values)]
    for phi, v in zip(found, (start, *values), strict=True):
        phi.add_incoming(v, entry)
    b.cbranch(b.icmp_signed("<", i, stop), body, end)
    b.position_at_end(body)
    current = list(carried)
    yield i, current
    for phi, v in zip(found, (b.add(i, INT(step)), *current), strict=True):
        phi.add_incoming(v, b.block)
    b.branch(head)
    b.position_at_end(end)
    current[:] = carried


def _column(b: Any, panel: Any, lanes: int, width: Any) -> Any:
    """Where a panel begins; the last ones overlap those before, so as not to reach beyond the matrix."""
    start, last = b.mul(panel, INT(lanes)), b.sub(width, INT(lanes))
    return b.select(b.icmp_signed("<", start, last), start, last)


def _count(b: Any, width: Any, size: int) -> Any:
    """⌈width / size⌉"""
    return b.sdiv(b.add(width, INT(size - 1)), INT(size))


def _pack(
    b: Any, lanes: int, depth: Any, width: Any, weight: Any, down: Any, across: Any, panels: Any
) -> None:
    many = b.mul(_count(b, width, lanes * _BLOCK), INT(_BLOCK))
    with counted(b, INT(0), many) as (p, _):
        column = b.gep(weight, [b.mul(_column(b, p, lanes, width), across)])
        panel = b.gep(panels, [b.mul(p, b.mul(depth, INT(lanes)))])
        with counted(b, INT(0), depth) as (k, _):
            row, out = b.gep(column, [b.mul(k, down)]), b.gep(panel, [b.mul(k, INT(lanes))])
            for lane in range(lanes):
                b.store(b.load(b.gep(row, [b.mul(across, INT(lane))])), b.gep(out, [INT(lane)]))


def _multiply(
    b: Any, lanes: int, depth: Any, width: Any, steps: Any, rows: Any, a: Any, a_at: Any, a_step: Any,
    a_row: Any, panels: Any, out: Any, out_at: Any, out_step: Any, out_row: Any,
) -> None:  # fmt: skip
    a, out = b.gep(a, [a_at]), b.gep(out, [out_at])
    vector = ir.VectorType(a.type.pointee, lanes)
    name = f"llvm.fmuladd.v{lanes}{a.type.pointee.intrinsic_name}"
    add = b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(vector, [vector] * 3), name)
    nothing = ir.Constant(vector, ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)

    def at(pointer: Any, offset: Any) -> Any:
        return b.bitcast(b.gep(pointer, [offset]), vector.as_pointer())

    def block(s: Any, ns: list[Any], ps: list[Any]) -> None:
        """out[s, n, panel p] = a[s, n] @ panel p, for all n and p."""
        lines = [b.gep(a, [b.add(b.mul(s, a_step), b.mul(n, a_row))]) for n in ns]
        walls = [b.gep(panels, [b.mul(p, b.mul(depth, INT(lanes)))]) for p in ps]
        zeros = [ir.Constant(vector, None)] * (len(ns) * len(ps))
        with counted(b, INT(0), depth, values=zeros) as (k, sums):
            across = [b.load(at(wall, b.mul(k, INT(lanes))), align=4) for wall in walls]
            for i, line in enumerate(lines):
                one = b.insert_element(nothing, b.load(b.gep(line, [k])), ir.IntType(32)(0))
                same = b.shuffle_vector(one, one, first)
                for j, wall in enumerate(across, start=i * len(ps)):
                    sums[j] = b.call(add, [same, wall, sums[j]])
        for i, n in enumerate(ns):
            line = b.gep(out, [b.add(b.mul(s, out_step), b.mul(n, out_row))])
            for j, p in enumerate(ps, start=i * len(ps)):
                b.store(sums[j], at(line, _column(b, p, lanes, width)), align=4)

    joined = b.and_(
        b.icmp_signed("==", a_step, b.mul(rows, a_row)), b.icmp_signed("==", out_step, b.mul(rows, out_row))
    )
    rows = b.select(joined, b.mul(steps, rows), rows)
    steps = b.select(joined, INT(1), steps)
    start = INT(0)
    for high in (_BLOCK, 2, 1):
        wide, stop = _BLOCK // high, b.and_(rows, INT(-high))
        with (
            counted(b, INT(0), _count(b, width, lanes), wide) as (p, _),
            counted(b, INT(0), steps) as (s, _),
            counted(b, start, stop, high) as (n, _),
        ):
            block(s, [b.add(n, INT(i)) for i in range(high)], [b.add(p, INT(j)) for j in range(wide)])
        start = stop

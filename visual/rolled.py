"""The loop, and what it becomes: a recurrent network rolled up, beside the same network unrolled.

A network is written as a loop and computed as a row of copies. On the left stands the loop: one box per layer
and direction, with the delay mark z⁻¹ on the state that comes back one step later. On the right stands the
grid that it unrolls to, its rows at the same heights.

`loops` rolls a graph up and `unroll` undoes it, so that a test can say: nothing was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tinygrad_rnn.trace import Graph, Vertex
from visual import rail
from visual.picture import Arrow, Box, Element, Picture, Text, bezier, fit, moved, text_width
from visual.sources import told_apart
from visual.style import Style
from visual.style import style as style_of
from visual.unroll import unrolled

SIDE = 52.0
LONG = 12
"""More steps than this are folded: the loop has already said what happens at each."""
JOINS = ("stack", "concatenate")


class Loop(NamedTuple):
    """An edge of the rolled network: `source` at t goes into `target` at t + `delay`."""

    source: str
    target: str
    delay: int
    cut: bool = False


def rolled(
    what: Any,
    steps: int = 3,
    theme: str = "light",
    title: str | None = None,
    style: Mapping[str, str] | None = None,
) -> Picture:
    """The loop with its delay mark, beside the grid that it unrolls to.

    `what` is a recurrent module or cell, or a network with one in it (which is run on `steps` random inputs),
    or a Graph, a Flow or a Tensor.

    >>> from tinygrad_rnn.trace import Edge, Graph, Vertex
    >>> cells = [Vertex(f"l0.fwd.t{t}", "cell", "cell", layer=0, direction="forward", time=t) for t in (0, 1)]
    >>> rolled(Graph(tuple(cells), (Edge("l0.fwd.t0", "l0.fwd.t1"),), "cell")).boxes[-1].id
    'l0.fwd'
    """
    graph = told_apart(_graph(what, steps))
    table = style_of(theme, style)
    found = loops(graph)
    if not found and not any(_is_cell(v) for v in graph.nodes):
        raise ValueError("expected a recurrent network to roll up, got a graph without time steps")
    grid = unrolled(graph, table, fold=LONG, title=title or "The loop, and what it unrolls to")
    heights: dict[str, tuple[float, Vertex]] = {}
    at = {box.id: box for box in grid.boxes}
    for v in graph.nodes:
        if _is_cell(v) and v.id in at:
            heights.setdefault(row_of(v), (at[v.id].y, v))
    names = _weights(graph)
    width = max([text_width(text, 9.5) for lines in names.values() for text in lines] + [64.0])
    centre = 28.0 + width + 40.0 + SIDE / 2
    shift = centre + SIDE / 2 + 160.0
    elements = [_shifted(e, shift) for e in grid.elements]
    elements += _drawn(table, graph, found, heights, names, centre)
    top = max((y for y, _ in heights.values()), default=0.0)
    beside = next(e.x for e in grid.elements if isinstance(e, Text) and e.text.startswith("layer "))
    high, quiet = top + SIDE / 2 + 52, table["quiet"]
    elements.append(Text(centre, high, "rolled", quiet, 12, bold=True))
    elements.append(Text(shift + beside, high, "unrolled", quiet, 12, "start", bold=True))
    rows = [("from", "to", "delay")]
    rows += [(e.source, e.target, "cut" if e.cut else f"{e.delay:+d}" if e.delay else "0") for e in found]
    desc = f"{len(heights)} loops on the left, unrolled over {_steps(graph)} steps on the right."
    width, desc = grid.width + shift, f"{desc} {grid.desc}"
    return replace(grid, width=width, parts=tuple(elements), desc=desc, facts=lambda: rows)


def loops(graph: Graph) -> list[Loop]:
    """The edges between cells, rolled up; what only brings values together (a stack) is passed through.

    A cut is an edge of its own: where a step was detached, the loop has both.
    """
    found: dict[Loop, None] = {}
    for a, b, cut in _between_cells(graph):
        found[Loop(row_of(a), row_of(b), (b.time or 0) - (a.time or 0), cut)] = None
    return list(found)


def unroll(found: Sequence[Loop], times: Mapping[str, Sequence[int]]) -> set[tuple[str, str]]:
    """The edges between cells that the loops stand for; `times` are each row's steps.

    >>> sorted(unroll([Loop("l0.fwd", "l0.fwd", 1)], {"l0.fwd": range(3)}))
    [('l0.fwd.t0', 'l0.fwd.t1'), ('l0.fwd.t1', 'l0.fwd.t2')]
    """
    return {
        (f"{e.source}.t{t}", f"{e.target}.t{t + e.delay}")
        for e in found
        for t in times[e.source]
        if t + e.delay in times[e.target]
    }


def row_of(v: Vertex) -> str:
    """The cell's name without its time: "l0.fwd"."""
    return f"l{v.layer}.{'rev' if v.direction == 'reverse' else 'fwd'}"


def _graph(what: Any, steps: int) -> Graph:
    if isinstance(what, Graph):
        return what if what.level == "cell" else what.quotient("cell")
    if hasattr(what, "graph"):
        graph: Graph = what.graph("cell")
        return graph
    import tinygrad_rnn as tg

    if isinstance(what, tg.nn.Module):
        what = _output(what, steps)
    return tg.trace(what).quotient("cell")


def _output(module: Any, steps: int) -> Any:
    """What a module makes of a random sequence, whose width is read off the module or its first part."""
    import tinygrad_rnn as tg

    name = type(module).__name__
    if hasattr(module, "hidden_size") and not hasattr(module, "num_layers"):
        module = tg.nn.Recurrent(module)
    shape = (1, steps) if any(getattr(m, "batch_first", False) for m in module.modules()) else (steps, 1)
    for part in module.modules():
        width = getattr(part, "input_size", None) or getattr(part, "in_features", None)
        if width is not None:
            x = tg.randn(*shape, width)
            break
        if hasattr(part, "num_embeddings"):
            x = tg.randint(0, part.num_embeddings, shape)
            break
    else:
        raise TypeError(f"expected a module that says its input_size, got {name}: give its Graph instead")
    try:
        output = module(x)
    except Exception as error:
        came = f"{type(error).__name__}: {error}; give its Graph"
        raise TypeError(f"expected {name} to read x of shape {x.shape}, got {came}") from error
    return output[0] if isinstance(output, tuple) else output


def _is_cell(v: Vertex) -> bool:
    return v.kind == "cell" and v.layer is not None and v.time is not None


def _steps(graph: Graph) -> int:
    return len({v.time for v in graph.nodes if _is_cell(v)})


def _between_cells(graph: Graph) -> Iterator[tuple[Vertex, Vertex, bool]]:
    """Every way from cell to cell, straight or through joins of the same step."""
    nodes = {v.id: v for v in graph.nodes}
    out: dict[str, list[tuple[str, bool]]] = {}
    for e in graph.edges:
        out.setdefault(e.source, []).append((e.target, e.cut))
    for v in graph.nodes:
        if not _is_cell(v):
            continue
        front, seen = list(out.get(v.id, ())), set()
        while front:
            name, cut = front.pop()
            u = nodes[name]
            if _is_cell(u):
                yield v, u, cut
            elif u.op in JOINS and (name, cut) not in seen:
                seen.add((name, cut))
                front += [(w, cut or c) for w, c in out.get(name, ())]


def _readers(graph: Graph) -> list[str]:
    """The rows that read the input."""
    nodes = {v.id: v for v in graph.nodes}
    ends = ((nodes[e.source], nodes[e.target]) for e in graph.edges)
    return list(
        dict.fromkeys(
            row_of(b) for a, b in ends if a.kind == "input" and a.time is not None and _is_cell(b)
        )
    )


def _weights(graph: Graph) -> dict[str, list[str]]:
    """The short names of each row's parameters."""
    nodes = {v.id: v for v in graph.nodes}
    found: dict[str, dict[str, None]] = {}
    for e in graph.edges:
        a, b = nodes[e.source], nodes[e.target]
        if a.kind == "parameter" and _is_cell(b):
            found.setdefault(row_of(b), {})[rail.short(a)] = None
    return {row: list(names) for row, names in found.items()}


def _drawn(
    style: Style,
    graph: Graph,
    found: Sequence[Loop],
    heights: Mapping[str, tuple[float, Vertex]],
    names: Mapping[str, Sequence[str]],
    x: float,
) -> Iterator[Element]:
    line = style["forward"]
    for e in found:
        y = heights[e.source][0]
        if e.source == e.target:
            word = f"t{'−' if e.delay > 0 else '+'}{abs(e.delay)} → t"
            right, far = x + SIDE / 2, x + SIDE / 2 + 40
            colour = style["cut"] if e.cut else line
            points = ((right, y + 12), (far, y + 40), (far, y - 40), (right, y - 12))
            yield Arrow(
                f"{e.source}--{e.target}" + ".cut" * e.cut,
                e.source,
                e.target,
                points,
                colour,
                1.6,
                classes=("edge", "cut" if e.cut else "forward", "loop"),
                title=f"{e.source}: {word}",
            )
            mark = "z⁻¹" if e.delay > 0 else "z"
            if e.cut:
                yield Text(right + 34, y + 17, "✂", colour, 13, classes=("mark",))
                continue
            yield Box(
                "",
                right + 46,
                y,
                30,
                20,
                mark,
                "box",
                style["page"],
                line,
                style["ink"],
                12,
                classes=("mark", "delay"),
                title=f"a delay of one step: {word}",
            )
            yield Text(right + 66, y - 4, word, style["quiet"], 10.5, "start", classes=("mark",))
    order = sorted(heights, key=lambda row: heights[row][0])
    for e in found:
        if e.source == e.target or e.delay:
            continue
        low, high = heights[e.source][0] + SIDE / 2, heights[e.target][0] - SIDE / 2
        across = order.index(e.target) - order.index(e.source)
        a = x - 10 if e.source.endswith("fwd") else x + 10
        bow = 0.0 if across == 1 else -74.0 if e.source.endswith("fwd") else -58.0
        b = a + (6 if e.target.endswith("rev") else -6)
        straight = bezier([(a, low), (b, high)])
        curve = straight if not bow else ((a, low), (x + bow, low + 24), (x + bow, high - 24), (b, high))
        yield Arrow(
            f"{e.source}--{e.target}", e.source, e.target, curve, line, 1.3, classes=("edge", "forward")
        )
    for row, (y, v) in heights.items():
        fill, edge = style.kind("cell")
        direction = "reverse" if v.direction == "reverse" else "forward"
        yield Box(
            row,
            x,
            y,
            SIDE,
            SIDE - 6,
            "h",
            "round",
            fill,
            edge,
            style["ink"],
            16,
            classes=("node", "kind-cell", f"layer-{v.layer}"),
            title=f"layer {v.layer}, {direction}",
        )
        for k, name in enumerate(names.get(row, ())):
            shown = fit(name, 150, 9.5)
            yield Text(
                x - SIDE / 2 - 40, y + 18 - 13 * k, shown, style["weight"], 9.5, "end", classes=("mark",)
            )
    bottom = min(y for y, _ in heights.values()) - SIDE / 2
    readers = _readers(graph)
    if readers:
        yield Text(x, bottom - 50, "x at t", style["ink"], 12, classes=("mark",))
    for row in readers:
        low, high = bottom - 34, heights[row][0] - SIDE / 2 + 3
        straight = bezier([(x, low), (x, high)])
        bowed = ((x, low), (x - 64, low + 8), (x - 64, high - 24), (x - 12, high))
        curve = bowed if high > bottom + 3 else straight
        yield Arrow("", "", "", curve, line, 1.3, classes=("mark", "input"))


def _shifted(e: Element, dx: float) -> Element:
    """The unrolled side moves right; title, notes and key stay."""
    keep = {"title", "note", "legend"}
    return e if keep.intersection(e.classes) else moved(e, dx, 0.0)

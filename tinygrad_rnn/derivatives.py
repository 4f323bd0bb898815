"""Derivatives of functions: products with the Jacobian from either side, and whole Jacobians and Hessians.

There is one sweep, and it runs backward: it gives uᵀJ, the product of the Jacobian with a vector from the
left. The product from the right needs no second set of rules. uᵀJ is linear in u, so its own derivative
with respect to u, swept backward along v, is J v: transposing twice is forward mode. It works for every
operation that has a rule, since the rules are recorded when they run on Tensors.

Every function here takes `create_graph=True` to put its result on the tape, for the next derivative or for
the gradient of a loss that contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.autodiff import grad
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.tensor import Tensor

Function = Callable[..., Any]
"""Takes Tensors and returns a Tensor or a tuple of them."""


def value_and_grad(fn: Function, argnums: int | Sequence[int] = 0, *, create_graph: bool = False) -> Function:
    """The function that returns (fn(…), ∂fn/∂x), for a scalar fn.

    Args:
        fn: gives a scalar Tensor, or a tuple that begins with one; the rest comes back as it is.
        argnums: which arguments to differentiate by; several give a tuple of gradients.
        create_graph: put the gradient on the tape.

    >>> import tinygrad_rnn as tg
    >>> tg.value_and_grad(lambda x: (x * x).sum())(tg.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """

    def run(*args: Any, **params: Any) -> tuple[Any, Any]:
        which = [argnums] if isinstance(argnums, int) else list(argnums)
        if any(not -len(args) <= i < len(args) for i in which):
            raise ValueError(f"expected argnums among {len(args)} positional arguments, got {argnums}")
        inputs = _inputs([args[i] for i in which])
        given = list(args)
        for i, x in zip(which, inputs, strict=True):
            given[i] = x
        with enable_grad():
            value = fn(*given, **params)
        loss = value[0] if isinstance(value, tuple) else value
        found = _grad([loss], inputs, None, create_graph=create_graph)
        return _released(value, create_graph), found[0] if isinstance(argnums, int) else found

    return run


def vjp(fn: Function, *primals: Any) -> tuple[Any, Function]:
    """fn's value, and the function u ↦ uᵀJ that pulls a cotangent of it back to the primals.

    The pullback may be called again and again. It takes one cotangent for each output, and gives a Tensor
    for one primal, a tuple for several.

    >>> import tinygrad_rnn as tg
    >>> y, pullback = tg.vjp(tg.ops.sin, tg.tensor([0.0, 1.0]))
    >>> pullback(tg.tensor([1.0, 0.0]))
    tensor([1., 0.])
    """
    inputs = _inputs(primals)
    with enable_grad():
        value = fn(*inputs)
    outputs = _outputs(value)

    def pullback(*cotangents: Any, create_graph: bool = False) -> Any:
        if len(cotangents) != len(outputs):
            raise ValueError(
                f"expected one cotangent for each of {len(outputs)} outputs, got {len(cotangents)}"
            )
        found = _grad(outputs, inputs, cotangents, retain_graph=True, create_graph=create_graph)
        return found if len(inputs) > 1 else found[0]

    return _released(value, False), pullback


def jvp(fn: Function, primals: Any, tangents: Any, *, create_graph: bool = False) -> tuple[Any, Any]:
    """fn's value, and J v: how it changes when the primals move along the tangents (forward mode).

    Found by transposing twice: J v = ∂⟨Jᵀu, v⟩/∂u, for any u. Source: J. Townsend, "A new trick for
    calculating Jacobian vector products" (2017).

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(tg.ops.square, tg.tensor([1.0, 3.0]), tg.tensor([1.0, 0.5]))
    (tensor([1., 9.]), tensor([2., 3.]))
    """
    inputs = _inputs(_several(primals))
    directions = [_like(v, x, f"tangent {i}") for i, (v, x) in enumerate(_paired(_several(tangents), inputs))]
    with enable_grad():
        value = fn(*inputs)
    push = _pushforward(_outputs(value), inputs)
    found = push(directions, create_graph)
    return _released(value, create_graph), found if isinstance(value, tuple) else found[0]


def jacobian(fn: Function, x: Any, *, create_graph: bool = False) -> Any:
    """J[i, j] = ∂fnᵢ/∂xⱼ, of shape (*fn(x).shape, *x.shape).

    Swept backward, a row at a time, or forward, a column at a time, whichever are fewer. A tuple x means
    fn(*x); then, as for a tuple of outputs, the result is a tuple with a Jacobian for each.

    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x, tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    inputs = _inputs(_several(x))
    with enable_grad():
        value = fn(*inputs)
    rows = []
    for y in _outputs(value):
        if y.size <= sum(i.size for i in inputs) or len(inputs) > 1:
            basis = [_grad([y], inputs, [e], retain_graph=True, create_graph=create_graph) for e in _basis(y)]
            row = tuple(
                _stacked([found[i] for found in basis], (*y.shape, *to.shape), to, 0)
                for i, to in enumerate(inputs)
            )
        else:
            push = _pushforward([y], inputs)
            columns = [push([e], create_graph)[0] for e in _basis(inputs[0])]
            row = (_stacked(columns, (*y.shape, *inputs[0].shape), inputs[0], -1),)
        rows.append(row if isinstance(x, tuple) else row[0])
    return tuple(rows) if isinstance(value, tuple) else rows[0]


def hessian(fn: Function, x: Any, *, create_graph: bool = False) -> Any:
    """H[i, j] = ∂²fn/∂xᵢ∂xⱼ of a scalar fn, of shape (*x.shape, *x.shape).

    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: (x ** 3).sum(), tg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacobian(_gradient(fn, x), x, create_graph=create_graph)


def hvp(fn: Function, x: Any, v: Any, *, create_graph: bool = False) -> Any:
    """H v, the Hessian of a scalar fn times a vector, without making H: ∂⟨∂fn/∂x, v⟩/∂x.

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x ** 3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 1.0]))
    tensor([ 6., 12.])
    """
    inputs = _inputs(_several(x))
    along = [_like(each, to, f"vector {i}") for i, (each, to) in enumerate(_paired(_several(v), inputs))]
    with enable_grad():
        slopes = _outputs(_gradient(fn, x)(*inputs))
    found = _grad(slopes, inputs, along, create_graph=create_graph)
    return found if isinstance(x, tuple) else found[0]


def _gradient(fn: Function, x: Any) -> Function:
    """x ↦ ∂fn/∂x, on the tape."""

    def slope(*inputs: Tensor) -> Any:
        value = fn(*inputs)
        if not isinstance(value, Tensor) or value.size != 1:
            came = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"expected a scalar function, got one that returns {came}")
        found = _grad([value], list(inputs), None, create_graph=True)
        return found if isinstance(x, tuple) else found[0]

    return slope


def _pushforward(outputs: list[Tensor], inputs: list[Tensor]) -> Callable[[Sequence[Any], bool], Any]:
    """v ↦ J v, of a recorded computation: uᵀJ is recorded once, and pulled back along each v."""
    with enable_grad():
        us = [_zeros_like(y).requires_grad_() for y in outputs]
        pulled = _grad(outputs, inputs, us, retain_graph=True, create_graph=True)
    return lambda vs, create_graph: _grad(list(pulled), us, vs, retain_graph=True, create_graph=create_graph)


def _grad(
    outputs: list[Any], inputs: list[Tensor], cotangents: Any, *,
    retain_graph: bool | None = None, create_graph: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """`grad`, where what does not depend on an input has the derivative zero."""
    if cotangents is None:
        cotangents = [None] * len(outputs)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"expected a function that returns Tensors, got {type(y).__name__}")
    for y, g in zip(outputs, cotangents, strict=True):
        if g is None and y.size != 1:
            raise ValueError(f"expected a scalar function, got one that returns shape {y.shape}")
    pairs = [
        (y, g if g is None else _like(g, y, "cotangent")) for y, g in zip(outputs, cotangents, strict=True)
        if y.node is not None
    ]  # fmt: skip
    found: Any = [None] * len(inputs)
    if pairs:
        found = grad([y for y, _ in pairs], inputs, [g for _, g in pairs],
                     retain_graph=retain_graph, create_graph=create_graph, allow_unused=True)  # fmt: skip
    return tuple(_zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True))


# -- arguments and results -----------------------------------------------------------------------------


def _inputs(primals: Sequence[Any]) -> list[Tensor]:
    """The primals as values whose gradient can be asked for, without touching the caller's own `.grad`."""
    inputs = []
    for i, x in enumerate(primals):
        if not isinstance(x, Tensor):
            x = Tensor(namespaces.asarray(x))
        if x.dtype.kind != "f":
            raise TypeError(f"expected a floating dtype to differentiate by, got {x.dtype} as argument {i}")
        with enable_grad():
            inputs.append(x.clone() if x.node is not None else Tensor(x.data).requires_grad_())
    if not inputs:
        raise ValueError("expected at least one argument to differentiate by, got none")
    return inputs


def _outputs(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _several(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _paired(vectors: Sequence[Any], inputs: list[Tensor]) -> list[tuple[Any, Tensor]]:
    if len(vectors) != len(inputs):
        raise ValueError(f"expected one vector for each of {len(inputs)} arguments, got {len(vectors)}")
    return list(zip(vectors, inputs, strict=True))


def _like(v: Any, x: Tensor, what: str) -> Tensor:
    """v as a Tensor of x's shape."""
    found = v if isinstance(v, Tensor) else Tensor(namespaces.asarray(v, x.dtype))
    if found.shape != x.shape:
        raise ValueError(f"expected a {what} of shape {x.shape}, got {found.shape}")
    return found


def _zeros_like(x: Tensor) -> Tensor:
    return Tensor(namespaces.namespace(x.data).zeros_like(x.data))


def _basis(x: Tensor) -> list[Tensor]:
    """The unit vectors of x's shape."""
    xp = namespaces.namespace(x.data)
    return [Tensor(xp.reshape(row, x.shape)) for row in xp.eye(x.size, dtype=x.dtype)]


def _stacked(parts: list[Tensor], shape: tuple[int, ...], x: Tensor, axis: int) -> Tensor:
    """Rows (axis 0) or columns (axis -1) of a Jacobian, as one Tensor of that shape."""
    from tinygrad_rnn import ops

    if not parts:
        return Tensor(namespaces.namespace(x.data).zeros(shape, dtype=x.dtype))
    made: Tensor = ops.reshape(ops.stack(parts, axis=axis), shape)
    return made


def _released(value: Any, keep: bool) -> Any:
    """The value without its tape, which has done its work."""
    if keep:
        return value
    if isinstance(value, tuple):
        return tuple(_released(y, False) for y in value)
    return Tensor(value.data) if isinstance(value, Tensor) else value

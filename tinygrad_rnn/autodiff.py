"""Gradients asked for: `backward` and `grad`, the sweep with different beginnings and ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from tinygrad_rnn import namespaces
from tinygrad_rnn.modes import enable_grad
from tinygrad_rnn.namespaces import SPACES
from tinygrad_rnn.sweep import accumulate, ancestors, sweep
from tinygrad_rnn.tape import Node
from tinygrad_rnn.tensor import Tensor


def _seed(output: Tensor, gradient: Any, what: str) -> Any:
    """The cotangent to start from, checked; a Tensor."""
    if not isinstance(output, Tensor):
        raise TypeError(f"expected a Tensor to differentiate, got {type(output).__name__}")
    if output.node is None:
        raise ValueError(f"expected {what} to depend on a tensor that requires grad, got one that does not")
    if gradient is None:
        if output.size != 1:
            raise ValueError(f"expected a scalar, got shape {output.shape}: pass the gradient of this output")
        xp = namespaces.namespace(output.data)
        return Tensor(xp.ones_like(output.data))
    if not isinstance(gradient, Tensor):
        known = type(gradient) in SPACES
        gradient = Tensor(namespaces.asarray(gradient, output.dtype, None if known else output.device))
    if gradient.shape != output.shape:
        raise ValueError(f"expected a gradient of shape {output.shape}, got {gradient.shape}")
    if gradient.dtype.kind != "f":
        raise TypeError(f"expected a gradient of {output.dtype}, got {gradient.dtype}")
    if namespaces.namespace(gradient.data) is not namespaces.namespace(output.data):
        raise namespaces.DeviceError(f"expected a gradient on {output.device}, got one on {gradient.device}")
    return gradient


def _roots(outputs: Sequence[Tensor], gradients: Sequence[Any], record: bool) -> dict[Node, Any]:
    roots: dict[Node, Any] = {}
    for output, gradient in zip(outputs, gradients, strict=True):
        seed = _seed(output, gradient, "the output")
        value = seed if record else seed.data.astype(output.dtype, copy=False)
        assert output.node is not None  # `_seed` has refused it
        roots[output.node] = value if output.node not in roots else roots[output.node] + value
    return roots


def _library(output: Tensor, record: bool) -> Any:
    if record:
        from tinygrad_rnn import ops

        return ops
    return namespaces.namespace(output.data)


def backward(
    output: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add ∂(gradient·output)/∂leaf to the `.grad` of every leaf that the output depends on.

    Args:
        gradient: cotangent of the output, of its shape; may be left out for a scalar (then 1).
        retain_graph: keep the tape for another backward; by default only if `create_graph`.
        create_graph: record the backward pass too, for higher derivatives.

    Raises:
        ValueError: no gradient is possible, or a shape does not fit. FreedTapeError, InPlaceError.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    tensor(6.)
    """
    roots = _roots([output], [gradient], create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    with enable_grad() if create_graph else nullcontext():
        found = sweep(roots, _library(output, create_graph), record=create_graph, keep=keep)
        for node, g in found.items():
            accumulate(node, g, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """∂outputs/∂inputs, as new Tensors; nothing is added to any `.grad`.

    Args:
        outputs: what to differentiate; several are added up.
        inputs: with respect to what; leaves or intermediate values.
        grad_outputs: one cotangent per output; may be left out for scalars.
        retain_graph, create_graph: as in `backward`.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        A Tensor for one input, a tuple for a sequence of them.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> dy = tg.grad(x ** 3, x, create_graph=True)
    >>> dy, tg.grad(dy, x)
    (tensor(12., made_by=multiply), tensor(12.))
    """
    outs, ins = _listed(outputs, "outputs"), _listed(inputs, "inputs")
    if not outs or not ins:
        raise ValueError(f"expected at least one output and one input, got {len(outs)} and {len(ins)}")
    if grad_outputs is None:
        grad_outputs = [None] * len(outs)
    elif isinstance(outputs, Tensor) and not (
        isinstance(grad_outputs, list | tuple) and len(grad_outputs) == 1
    ):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outs):
        raise ValueError(f"expected one cotangent per output ({len(outs)}), got {len(grad_outputs)}")
    for i, x in enumerate(ins):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected inputs to be Tensors, got {type(x).__name__} as input {i}")
        if x.node is None:
            raise ValueError(f"expected inputs that require grad, got input {i} that does not")
    roots = _roots(outs, grad_outputs, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    targets: list[Any] = [x.node for x in ins]
    order = ancestors(roots)
    if not allow_unused:
        reached = set(order)
        for i, node in enumerate(targets):
            if node not in reached:
                raise ValueError(
                    f"input {i} is not used by the outputs: pass allow_unused=True to get None for it"
                )
    xp = _library(outs[0], create_graph)
    with enable_grad() if create_graph else nullcontext():
        found = sweep(roots, xp, record=create_graph, keep=keep, targets=targets, order=order)
    results = []
    for x, node in zip(ins, targets, strict=True):
        g = found.get(node)
        if g is None and not allow_unused:
            g = namespaces.namespace(x.data).zeros_like(x.data)
        results.append(g if g is None or isinstance(g, Tensor) else Tensor(g))
    return results[0] if isinstance(inputs, Tensor) else tuple(results)


def _listed(tensors: Any, what: str) -> list[Any]:
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, list | tuple):
        raise TypeError(
            f"expected {what} to be a Tensor or a sequence of Tensors, got {type(tensors).__name__}"
        )
    return list(tensors)

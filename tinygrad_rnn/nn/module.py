"""Modules: what holds parameters, and knows its name.

A Module is an ordinary object. Whatever Parameter, buffer or Module is assigned to one of its attributes
belongs to it, under that attribute's name: so `state_dict` needs no registry, only `vars(self)`. A call runs
`forward` with the module's path as the current scope, and everything recorded inside knows where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_rnn import namespaces, ops
from tinygrad_rnn.namespaces import SPACES, on_device
from tinygrad_rnn.scope import here
from tinygrad_rnn.tensor import Tensor, raw

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A leaf tensor that a Module counts among its parameters; pictures call it by its attribute's name.

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.Parameter(tg.zeros(2, 3))
    >>> w.requires_grad, w.shape
    (True, (2, 3))
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        """Share the memory of `data`, an array or a Tensor."""
        super().__init__(namespaces.asarray(raw(data)))
        self.requires_grad_(requires_grad)

    def __copy__(self) -> Tensor:
        made = Parameter(self.data, requires_grad=False)
        made.node, made.origin = self.node, self.origin
        return made


class Keys(NamedTuple):
    """What `load_state_dict` found amiss, where strict=False lets it pass."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Something with parameters and a `forward`; a network, or a part of one.

    >>> import tinygrad_rnn as tg
    >>> class Affine(tg.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = tg.nn.Parameter(tg.ones(3))
    ...         self.shift = tg.nn.Parameter(tg.zeros(3))
    ...     def forward(self, x):
    ...         return self.scale * x + self.shift
    >>> list(Affine().state_dict())
    ['scale', 'shift']
    """

    training: bool = True
    _name: str = ""
    _buffers: Mapping[str, bool] = {}
    """Buffer's attribute → whether it goes into the state dict."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module):
            value._be_named(name)
        elif isinstance(value, Parameter):
            value.name = name
        elif value is not None and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"expected a Parameter or None for parameter {name!r}, got {type(value).__name__}"
            )
        object.__setattr__(self, name, value)

    def _be_named(self, name: str) -> None:
        """Take the name that the parent gives; in scopes, in pictures."""
        object.__setattr__(self, "_name", name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, marked with this module's path; inside a time step, the step's own mark stands."""
        outer = here.scope
        if not self._name or outer.direction is not None:
            return self.forward(*args, **kwargs)
        here.scope = outer._replace(module=f"{outer.module}.{self._name}" if outer.module else self._name)
        try:
            return self.forward(*args, **kwargs)
        finally:
            here.scope = outer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each kind of Module says it for itself."""
        raise NotImplementedError(
            f"expected {type(self).__name__} to define forward, got a Module without one"
        )

    # -- what belongs to it ----------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with dotted paths."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            inner = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
            stack.extend(reversed(inner))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Parameter))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with dotted names in PyTorch's order: own ones first."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, parameter in module._own_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{path}.{name}" if path else name, parameter

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Let a tensor that is no parameter belong to the module; saved with it, if persistent."""
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All buffers, with dotted names."""
        for path, module in self.named_modules(prefix):
            for name in module._buffers:
                if getattr(module, name) is not None:
                    yield f"{path}.{name}" if path else name, getattr(module, name)

    def buffers(self) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    # -- saving and loading ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Name → tensor, for every parameter and persistent buffer; detached, sharing memory."""
        return {name: Tensor(value.data) for name, value in self._state()}

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._every_path():
            own: list[tuple[str, Tensor]] = list(module._own_parameters())
            kept = [
                (name, getattr(module, name)) for name, persistent in module._buffers.items() if persistent
            ]
            for name, value in own + [(n, b) for n, b in kept if b is not None]:
                yield f"{path}.{name}" if path else name, value

    def _every_path(self, path: str = "") -> Iterator[tuple[str, Module]]:
        """Like `named_modules`, but a shared module stands under each of its paths."""
        yield path, self
        for name, child in self.named_children():
            yield from child._every_path(f"{path}.{name}" if path else name)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Keys:
        """Overwrite parameters and buffers, in place, all or nothing.

        Args:
            state: name → Tensor or array, of any dtype and backend (PyTorch's on the CPU too).
            strict: refuse missing and unexpected names; a wrong shape is always refused.

        Raises:
            ValueError: in one sentence, all names missing, unexpected or misshapen; nothing is changed.
        """
        own = dict(self._state())
        given = {name: _host(value) for name, value in state.items()}
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        misshapen = [
            f"{name} {given[name].shape} instead of {value.shape}"
            for name, value in own.items()
            if name in given and given[name].shape != value.shape
        ]
        said = {"missing": missing, "unexpected": unexpected} if strict else {}
        said["misshapen"] = misshapen
        wrong = "; ".join(f"{what}: {', '.join(names)}" for what, names in said.items() if names)
        if wrong:
            raise ValueError(f"expected the state of this {type(self).__name__}, got one with {wrong}")
        for name, value in own.items():
            if name in given:
                value.copy_(namespaces.asarray(given[name], device=value.device))
        return Keys(missing, unexpected)

    # -- for all of it ---------------------------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module inside, then on this one; returns self."""
        for module in reversed(list(self.modules())):
            fn(module)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Switch to training (dropout on), or with False to evaluation; returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch to evaluation; returns self."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Ask (or stop asking) for the gradients of all parameters; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or write zeros into them)."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = ops.zeros_like(parameter.grad)

    def to(self: M, *where: Any) -> M:
        """Move to a device ("cpu", "cuda:0") or a floating dtype, or both, in place; returns self."""
        for tensor in [*self.parameters(), *self.buffers()]:
            for target in where:
                _move(tensor, target)
        return self

    def cpu(self: M) -> M:
        """Move to the CPU; returns self."""
        return self.to("cpu")

    def cuda(self: M) -> M:
        """Move to the CUDA device; returns self."""
        return self.to("cuda")

    def double(self: M) -> M:
        """Make all floating tensors float64; returns self."""
        return self.to("float64")

    def float(self: M) -> M:
        """Make all floating tensors float32; returns self."""
        return self.to("float32")

    # -- how it looks ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` says between the parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        own = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({own})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(([own] if own else []) + lines) + "\n)"


def _host(value: Any) -> Any:
    """An array that knows its shape, wherever the value comes from."""
    value = raw(value)
    return value if type(value) in SPACES else np.asarray(value)


def _move(tensor: Tensor, target: Any) -> None:
    """Put a leaf on a device or into a dtype, keeping its identity, its name and its gradient."""
    is_device = isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda")
    if not is_device and (np.dtype(target).kind != "f" or tensor.dtype.kind != "f"):
        if np.dtype(target).kind != "f":
            raise TypeError(f"expected a device or a floating dtype, got {target!r}")
        return
    grad, name = tensor.grad, tensor.name
    data = namespaces.to_device(tensor.data, target) if is_device else tensor.data.astype(target, copy=False)
    if data is tensor.data:
        return
    asked, tensor.data, tensor.node = tensor.requires_grad, data, None
    tensor.requires_grad_(asked)
    if name is not None:
        tensor.name = name
    if grad is not None:
        tensor.grad = grad.detach().to(target)


def make_parameter(shape: tuple[int, ...], device: str | None, dtype: Any) -> Parameter:
    """A parameter of that shape, its entries yet to be drawn."""
    kind = namespaces.get_default_dtype() if dtype is None else np.dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"expected a floating dtype for parameters, got {kind}")
    return Parameter(on_device(device, lambda xp: xp.empty(shape, dtype=kind)))

"""What every optimiser shares: parameters in groups, a state for each, saving and loading.

An optimiser is its update rule: `_update(data, grad, state, group)` changes one parameter's array in place
and keeps what it must remember in `state`. Everything around the rule is here. Arrays are the parameters'
own (NumPy's or CuPy's; on a GPU, and in float16, many parameters go as one: `flat`); nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces
from tinygrad_rnn.namespaces import SPACES, Array
from tinygrad_rnn.optim.flat import Flat, precise
from tinygrad_rnn.tensor import Tensor

Group = dict[str, Any]


class Optimizer:
    """The base of all optimisers; `param_groups` is a list of dicts, as in PyTorch.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w
    tensor([0.8], requires_grad=True)
    """

    param_groups: list[Group]

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        """Take parameters, or groups of them: dicts with "params" and what differs from the defaults.

        Raises ValueError for an empty list or a parameter in two groups, TypeError for what is no leaf.
        """
        if isinstance(params, Tensor):
            raise TypeError("expected an iterable of parameters or groups, got one Tensor")
        self.defaults = dict(defaults)
        self.state: dict[int, dict[str, Any]] = {}
        self._flat: dict[tuple[int, ...], Flat] = {}
        self.param_groups = []
        given = list(params)
        if not given:
            raise ValueError("expected at least one parameter, got an empty list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Group) -> None:
        """Add parameters with their own settings: {"params": […], "lr": …}."""
        members = group["params"]
        members = [members] if isinstance(members, Tensor) else list(members)
        unknown = group.keys() - self.defaults.keys() - {"params", "initial_lr"}
        if unknown:
            raise TypeError(f"expected settings {sorted(self.defaults)}, got {sorted(unknown)}")
        seen = {id(p) for other in self.param_groups for p in other["params"]}
        for p in members:
            if not isinstance(p, Tensor) or not p.is_leaf:
                came = "the result of an operation" if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(f"expected leaf Tensors to optimise, got {came}")
            if id(p) in seen:
                raise ValueError(
                    f"expected each parameter once, got {p.name or 'one'} of shape {p.shape} twice"
                )
            seen.add(id(p))
        self.param_groups.append({**self.defaults, **group, "params": members})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients (or write zeros into them)."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and not set_to_none:
                    p.grad.copy_(0.0)
                else:
                    p.grad = None

    @namespaces.explaining_memory
    def step(self, closure: Any = None) -> Any:
        """Change every parameter that has a gradient, once; returns what `closure()` returns, if given."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            together: dict[Any, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state.setdefault(id(p), {})
                if namespaces.on_host(p.data) and precise(p.dtype) == p.dtype:
                    g = -p.grad.data if group.get("maximize") else p.grad.data
                    self._update(p.data, g, state, group)
                    namespaces.note_write(p.data)
                else:
                    numbers = [(k, None if type(v) in SPACES else v) for k, v in sorted(state.items())]
                    together.setdefault((p.device, p.dtype, *numbers), []).append(p)
            for members in together.values():
                self._update_together(members, group)
        return loss

    def _update_together(self, members: list[Tensor], group: Group) -> None:
        states = [self.state[id(p)] for p in members]
        key = tuple(map(id, members))
        if key not in self._flat or not self._flat[key].fits(members, states):
            self._flat = {k: flat for k, flat in self._flat.items() if not set(k) & set(key)}
            self._flat[key] = Flat(members, states)
        self._flat[key].update(self._update, group, states)

    def _update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        raise NotImplementedError

    # -- saving and loading ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: what is remembered}, "param_groups": settings}, PyTorch's form."""
        numbers = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups
        ]
        state = {
            numbers[key]: {k: Tensor(v) if type(v) in SPACES else v for k, v in kept.items()}
            for key, kept in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another optimiser of the same parameters stopped, all or nothing.

        Raises ValueError where the groups differ in number or size.
        """
        given, own = state["param_groups"], self.param_groups
        sizes = [[len(g["params"]) for g in groups] for groups in (own, given)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"expected groups of {sizes[0]} parameters, got groups of {sizes[1]}")
        members = [p for group in own for p in group["params"]]
        remembered = {}
        for number, kept in state["state"].items():
            p = members[int(number)]
            remembered[id(p)] = {key: _restored(value, p) for key, value in kept.items()}
        for group, settings in zip(
            own, deepcopy([{k: v for k, v in g.items() if k != "params"} for g in given]), strict=True
        ):
            group.update(settings)
        self.state = remembered

    def __repr__(self) -> str:
        shown = {k: v for k, v in self.param_groups[0].items() if k != "params"}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and deepcopy: what is remembered goes by number, since ids do not travel."""
        return {**vars(self), "state": self.state_dict()["state"], "_flat": {}}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        vars(self).update(kept)
        self.load_state_dict({"state": kept["state"], "param_groups": self.param_groups})


def _restored(value: Any, p: Tensor) -> Any:
    """What was remembered of a parameter: a copy, precise and on its device; a number as it is."""
    if isinstance(value, int | float):
        return value
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if not array.shape:
        return array.item()
    if array.shape != p.shape:
        raise ValueError(f"expected a state of shape {p.shape}, got {array.shape}")
    return namespaces.asarray(array.astype(precise(p.dtype)), device=p.device).copy()


def check_range(**settings: float) -> None:
    """ValueError for a setting below zero."""
    for name, value in settings.items():
        if not value >= 0:
            raise ValueError(f"expected {name} ≥ 0, got {value}")

"""Modules that hold others: one after the other, or by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_rnn.nn.module import Module


class ModuleList(Module):
    """Modules by number. Not called itself; its children's paths start with its own name.

    >>> from tinygrad_rnn import nn
    >>> layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), [name for name, _ in layers.named_parameters()][:2]
    (3, ['0.weight', '0.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end; returns self."""
        if not isinstance(module, Module):
            raise TypeError(f"expected a Module, got {type(module).__name__}")
        setattr(self, str(len(self)), module)
        self._be_named(self._name)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end; returns self."""
        for module in modules:
            self.append(module)
        return self

    def _be_named(self, name: str) -> None:
        super()._be_named(name)
        for number, child in self.named_children():
            child._be_named(f"{name}.{number}" if name else number)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        found = list(self.children())[index]
        return type(self)(found) if isinstance(index, slice) else found


class Sequential(Module):
    """Modules one after the other: each takes what the one before gives.

    >>> import tinygrad_rnn as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 5), tg.nn.Tanh(), tg.nn.Linear(5, 1))
    >>> net(tg.zeros(3, 2)).shape
    (3, 1)
    """

    def __init__(self, *modules: Module) -> None:
        for number, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"expected Modules, got {type(module).__name__} at position {number}")
            setattr(self, str(number), module)

    def forward(self, x: Any) -> Any:
        """x, through all of them."""
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        found = list(self.children())[index]
        return Sequential(*found) if isinstance(index, slice) else found

"""A graph-based autodiff framework, made to see and understand backpropagation through time.

Read it from the ground up: `namespaces` (which library an array belongs to), `scope` (where in the
unrolled network we stand), `tape` (how values were made), `tensor`, `primitive` (an operation and its rules;
`recorder` writes what runs when it is called, `plan` what its gradient takes), `sweep` (the backward pass)
and `autodiff`, `ops` (every operation), then `nn`, `trace` and `flow`, and `train`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_rnn import nn, ops
from tinygrad_rnn.autodiff import grad
from tinygrad_rnn.bptt import tbptt
from tinygrad_rnn.check import GradientMismatch, check_grads
from tinygrad_rnn.checkpoint import checkpoint, checkpoint_sequence
from tinygrad_rnn.create import (
    arange,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    tensor,
    zeros,
    zeros_like,
)
from tinygrad_rnn.derivatives import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tinygrad_rnn.flow import Flow, flow
from tinygrad_rnn.kernels.threads import get_num_threads, set_num_threads
from tinygrad_rnn.modes import AnomalyError, detect_anomaly, enable_grad, is_grad_enabled, no_grad
from tinygrad_rnn.namespaces import (
    DeviceError,
    cuda_available,
    device,
    get_default_device,
    get_default_dtype,
    manual_seed,
    set_default_device,
    set_default_dtype,
    synchronize,
)
from tinygrad_rnn.nn.recurrence import fused
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.scope import at
from tinygrad_rnn.serialize import from_torch, load, load_network, save, save_network, to_torch
from tinygrad_rnn.sweep import FreedTapeError, InPlaceError
from tinygrad_rnn.tensor import Tensor, label
from tinygrad_rnn.trace import Graph, trace

if TYPE_CHECKING:
    from tinygrad_rnn import optim, train

__version__ = "0.1.0"

__all__ = [
    "AnomalyError", "DeviceError", "Flow", "FreedTapeError", "GradientMismatch", "Graph", "InPlaceError",
    "Tensor", "arange", "at", "check_grads", "checkpoint", "checkpoint_sequence", "cuda_available",
    "detect_anomaly", "device", "empty", "enable_grad", "eye", "flow", "from_dlpack", "from_numpy",
    "from_torch", "full", "full_like", "fused", "get_default_device", "get_default_dtype",
    "get_num_threads", "grad", "hessian", "hvp", "is_grad_enabled", "jacobian", "jvp", "label", "linspace",
    "load", "load_network", "manual_seed", "nn", "no_grad", "ones", "ones_like", "ops", "optim", "primitive",
    "rand", "randint", "randn", "save", "save_network", "set_default_device", "set_default_dtype",
    "set_num_threads", "synchronize", "tbptt", "tensor", "to_torch", "trace", "train", "value_and_grad",
    "vjp", "zeros", "zeros_like",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """`tg.optim` and `tg.train`, once they are asked for: who wants a gradient does not wait for them."""
    if name not in ("optim", "train"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")

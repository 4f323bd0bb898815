"""A graph-based autodiff framework, made to see and understand backpropagation through time.

Read it from the ground up: `namespaces` (which library an array belongs to), `scope` (where in the
unrolled network we stand), `tensor` (arrays and the tape behind them), `primitive` (an operation and its
rules), `autodiff` (the sweep), `ops` (every operation), then `nn`, `trace` and `flow`.
"""

from tinygrad_rnn import nn, ops
from tinygrad_rnn.autodiff import (
    AnomalyError,
    FreedTapeError,
    InPlaceError,
    detect_anomaly,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
)
from tinygrad_rnn.create import (
    arange,
    empty,
    eye,
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
from tinygrad_rnn.flow import Flow, flow
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
from tinygrad_rnn.primitive import primitive
from tinygrad_rnn.scope import at
from tinygrad_rnn.tensor import Tensor, label
from tinygrad_rnn.trace import Graph, trace

__version__ = "0.1.0"

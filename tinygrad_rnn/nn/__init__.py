"""Networks: modules, cells and recurrent layers, losses; PyTorch's names, shapes and defaults.

Read `module` (what holds parameters), `cells` (one step of each recurrent network, written once), `unroll`
(that step, along time), `recurrent` (stacked, in both directions, over ragged batches), then the rest.
"""

from tinygrad_rnn.nn import init, utils
from tinygrad_rnn.nn.cells import GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.containers import ModuleList, Sequential
from tinygrad_rnn.nn.module import Module, Parameter
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN

__all__ = [
    "init", "utils",
    "Module", "Parameter", "Sequential", "ModuleList",
    "RNNCell", "LSTMCell", "GRUCell", "RNN", "LSTM", "GRU",
]  # fmt: skip

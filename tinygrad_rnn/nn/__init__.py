"""Networks: modules, cells and recurrent layers, losses; PyTorch's names, shapes and defaults.

Read `module` (what holds parameters), `cells` (one step of each recurrent network, written once), `unroll`
(that step, along time), `recurrent` (stacked, in both directions, over ragged batches), then the rest: layers
(`linear`, `conv`, `norm`, `attention`, `transformer`), losses (`loss`, `ctc`), and networks joined of these
(`text`, `hybrid`, `seq2seq`).
"""

from tinygrad_rnn.nn import functional, init, utils
from tinygrad_rnn.nn.activation import (
    ELU,
    GELU,
    GLU,
    SELU,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)  # fmt: skip
from tinygrad_rnn.nn.attention import AdditiveAttention, MultiheadAttention, MultiplicativeAttention
from tinygrad_rnn.nn.cells import GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.containers import ModuleList, Sequential
from tinygrad_rnn.nn.conv import AvgPool1d, AvgPool2d, Conv1d, Conv2d, MaxPool1d, MaxPool2d
from tinygrad_rnn.nn.custom import Recurrent
from tinygrad_rnn.nn.hybrid import ConvRecurrent, CTCRecognizer, RecurrentTransformer, TransformerRecurrent
from tinygrad_rnn.nn.linear import Dropout, Embedding, Flatten, Identity, Linear
from tinygrad_rnn.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    CTCLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)  # fmt: skip
from tinygrad_rnn.nn.module import Module, Parameter
from tinygrad_rnn.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN
from tinygrad_rnn.nn.seq2seq import Seq2Seq
from tinygrad_rnn.nn.text import SequenceClassifier
from tinygrad_rnn.nn.transformer import (
    PositionalEncoding,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "functional", "init", "utils",
    "Module", "Parameter", "Sequential", "ModuleList",
    "RNN", "LSTM", "GRU", "Recurrent", "RNNCell", "LSTMCell", "GRUCell", "SequenceClassifier",
    "Linear", "Embedding", "Dropout", "Flatten", "Identity",
    "Conv1d", "Conv2d", "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d",
    "LayerNorm", "BatchNorm1d", "BatchNorm2d",
    "MultiheadAttention", "AdditiveAttention", "MultiplicativeAttention", "PositionalEncoding",
    "TransformerEncoderLayer", "TransformerEncoder", "TransformerDecoderLayer", "TransformerDecoder",
    "Transformer",
    "ConvRecurrent", "RecurrentTransformer", "TransformerRecurrent", "Seq2Seq", "CTCRecognizer",
    "Tanh", "Sigmoid", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Softmax", "LogSoftmax",
    "SELU", "Mish", "Softsign", "LogSigmoid", "ReLU6", "Hardtanh", "GLU",
    "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "BCELoss", "BCEWithLogitsLoss",
    "CTCLoss", "HuberLoss", "KLDivLoss",
]  # fmt: skip

"""Operations entry by entry: `arithmetic`, elementary `functions`, `activations`, `choice` and comparisons.

Each is a line, its rule the line below. Where a function has a kink or a jump (abs, relu, maximum), the
rule gives a valid subgradient; of two equal entries `maximum` and `minimum` each take half.
"""
# ruff: noqa: F403

from tinygrad_rnn.ops import activations, arithmetic, choice, functions
from tinygrad_rnn.ops.activations import *
from tinygrad_rnn.ops.arithmetic import *
from tinygrad_rnn.ops.choice import *
from tinygrad_rnn.ops.functions import *

__all__: list[str] = []
__all__ += arithmetic.__all__
__all__ += functions.__all__
__all__ += activations.__all__
__all__ += choice.__all__

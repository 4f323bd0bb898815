"""Helpers under PyTorch's names: `nn.utils.clip_grad_norm_`, `nn.utils.rnn.pack_padded_sequence`, …"""

from tinygrad_rnn.nn.utils import rnn
from tinygrad_rnn.nn.utils.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "rnn"]

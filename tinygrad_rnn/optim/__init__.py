"""Optimisers and learning-rate schedules, PyTorch's names, defaults and update rules.

Read `optimizer` (what they share), `rules` (one class per update rule), `lr_scheduler`.
"""

from tinygrad_rnn.optim import lr_scheduler
from tinygrad_rnn.optim.optimizer import Optimizer
from tinygrad_rnn.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["Optimizer", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "lr_scheduler"]

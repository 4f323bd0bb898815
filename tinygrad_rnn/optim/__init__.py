"""Optimisers and learning-rate schedules, PyTorch's names, defaults and update rules.

Read `optimizer` (what they share), `rules` (one class per update rule), `flat` (many parameters at once),
`lr_scheduler`, `scaler` (half precision).
"""

from tinygrad_rnn.optim import lr_scheduler
from tinygrad_rnn.optim.optimizer import Optimizer
from tinygrad_rnn.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop
from tinygrad_rnn.optim.scaler import GradScaler

__all__ = ["Optimizer", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "GradScaler", "lr_scheduler"]

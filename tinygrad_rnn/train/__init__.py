"""Training: batches of sequences, a loop around them, checkpoints that survive a kill.

Read `data` (ragged batches, windows of a long text), `fitting` (the one call), `loop` (what it drives),
`run` (what comes of it), `folder` (what a run leaves on disk), `progress` (what it shows meanwhile).
"""

from tinygrad_rnn.train.data import Batch, Batches, Windows, prefetch
from tinygrad_rnn.train.fitting import fit
from tinygrad_rnn.train.run import Diverged, Run

__all__ = ["Batch", "Batches", "Diverged", "Run", "Windows", "fit", "prefetch"]

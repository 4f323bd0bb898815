"""Examples that run by themselves, on real data, and leave pictures in out/."""

import os

# Their matrix products are small: two threads of BLAS gain nothing, and lose much on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

"""From a cell's readable step to a fast loop over a whole sequence.

Read in this order. `program` runs a step on symbols and finds what happens between the matrix products,
forward and, by the primitives' own rules, backward. `schedule` says in which order, and where each value
lives. The emitters write that down as source text: `numpy_emitter` (always there), `numba_emitter` (extra
"fast") and `cuda_emitter` (CUDA C). `arena` lends the big arrays again and again. `fused` puts one layer's loop
on the tape as a single node, which still knows its definition.
"""

"""From a cell's readable step to a fast loop over a whole sequence.

Read in this order. `program` says what is known of a step; `reading` runs it on symbols and differentiates it
by the primitives' own rules, `form` brings all expressions to one form. `schedule` says in which order they
are computed and where each value lives, `scheduling` decides it, `buffers` finds room for temporaries,
`ahead` takes out what need not wait for the step before, and `fusion` joins what can run in registers. The
emitters write that down as source text: `numpy_emitter` (always there), `llvm_emitter` (extra "fast", with
its own matrix `products`; `native` compiles it) and `cuda_emitter` (CUDA C). `numpy_loops`, `llvm_loops` and
`cuda_loops` run what they wrote, `threads` share the work. `loops` runs a layer, `passes` chooses the
emitter, `arena` lends the big arrays again and again. `fused` puts a layer on the tape as a single node,
which still knows its definition.
"""

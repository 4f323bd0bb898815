"""Faults of networks and their kernels."""

from __future__ import annotations

from benchmarks.faults import Fault

NETWORKS = [
    Fault(
        "tests/nn/test_vectors.py", "the plain RNN without the bias of its recurrent product",
        "tinygrad_rnn/nn/cells.py",
        'h=tanh(linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh, w.bias_hh))',
        'h=tanh(linear(x, w.weight_ih, w.bias_ih) + linear(h, w.weight_hh))',
    ),
    Fault(
        "tests/nn/test_recurrent.py", "the reverse direction starts in the padding",
        "tinygrad_rnn/nn/unroll.py",
        "state = new if there is None else", 'state = new if there is None or direction == "reverse" else',
    ),
    Fault(
        "tests/nn/test_vectors.py", "an LSTM takes its gates in another order",
        "tinygrad_rnn/nn/cells.py",
        '    i, f, g, o = split(a, 4, axis=-1)\n    i, f',
        '    f, i, g, o = split(a, 4, axis=-1)\n    i, f',
    ),
    Fault(
        "tests/nn/test_recurrent.py", "dropout behind the last layer, too",
        "tinygrad_rnn/nn/recurrence.py",
        'layer < self.num_layers - 1:\n                x = ops.dropout',
        'layer < self.num_layers:\n                x = ops.dropout',
    ),
    Fault(
        "tests/nn/test_unroll.py", "the steps of a later stretch count from zero again",
        "tinygrad_rnn/nn/unroll.py",
        'time=start + t',
        'time=t',
    ),
    Fault(
        "tests/nn/test_packed.py", "the order of a packed batch is not undone",
        "tinygrad_rnn/nn/packed.py", "Tensor(np.argsort(order))", "Tensor(order)",
    ),
    Fault(
        "tests/nn/test_custom.py", "both directions run the forward one's cell",
        "tinygrad_rnn/nn/custom.py",
        '        cell = self.cells[layer * self.num_directions + direction]\n        if isinstance',
        '        cell = self.cells[layer * self.num_directions]\n        if isinstance',
    ),
    Fault(
        "tests/nn/test_module.py", "load_state_dict writes the names it knows and then complains",
        "tinygrad_rnn/nn/module.py",
        '        wrong = "; ".join(',
        '        for name in own.keys() & given.keys():\n            own[name].data[...] = 0\n'
        '        wrong = "; ".join(',
    ),
    Fault(
        "tests/nn/test_layers.py", "the mean counts what ignore_index leaves out",
        "tinygrad_rnn/nn/functional.py", "there = at != ignore_index", "there = at >= -(10**9)",
    ),
    Fault(
        "tests/nn/test_ctc.py", "a path may leave out the blank between two equal labels",
        "tinygrad_rnn/nn/ctc.py",
        '(spread != blank) & (spread != two_before)',
        'spread != blank',
    ),
    Fault(
        "tests/nn/test_ctc.py", "what goes back over a skipped blank arrives one place off",
        "tinygrad_rnn/nn/ctc.py", "before[:-2] += two[2:]", "before[1:-1] += two[2:]",
    ),
    Fault(
        "tests/nn/test_blocks.py", "the running variance forgets Bessel's correction",
        "tinygrad_rnn/nn/functional.py",
        'ops.var(input, axes, correction=1)',
        'ops.var(input, axes)',
    ),
    Fault(
        "tests/nn/test_attention.py", "a mask hides what it should show",
        "tinygrad_rnn/nn/functional.py",
        '-math.inf, 0.0).astype',
        '0.0, -math.inf).astype',
    ),
    Fault(
        "tests/nn/test_hybrid.py", "a Transformer looks at the padding",
        "tinygrad_rnn/nn/hybrid.py",
        'np.arange(steps) >= found',
        'np.arange(steps) > found',
    ),
    Fault(
        "tests/nn/test_seq2seq.py", "the decoder looks at the padding",
        "tinygrad_rnn/nn/seq2seq.py",
        'padding = None if lengths is None else padding_mask',
        'padding = None if True else padding_mask',
    ),
    Fault(
        "tests/parity/test_networks.py", "RMSprop adds ε under the root",
        "tinygrad_rnn/optim/rules.py",
        'step = g / (xp.sqrt(v) + group["eps"])',
        'step = g / xp.sqrt(v + group["eps"])',
    ),
    Fault(
        "tests/parity/test_modules.py", "scores are not divided by √d",
        "tinygrad_rnn/nn/functional.py",
        'ops.matmul(query * scale, key.mT)',
        'ops.matmul(query, key.mT)',
    ),
    Fault(
        "tests/parity/test_hybrid.py", "the decoder starts from the encoder's state as it is",
        "tinygrad_rnn/nn/seq2seq.py",
        'ops.tanh(self.bridge(last))',
        'self.bridge(last)',
    ),
    Fault(
        "tests/parity/test_scaler.py", "the scale grows one step late",
        "tinygrad_rnn/optim/scaler.py",
        'self._steady == self._growth_interval',
        'self._steady > self._growth_interval',
    ),
    Fault(
        "tests/parity/test_training.py", "gradients are clipped from above alone",
        "tinygrad_rnn/nn/utils/clip.py", "g.data, -limit, limit", "g.data, None, limit",
    ),
    Fault(
        "tests/parity/test_examples.py", "Adam's first moment forgets as slowly as its second",
        "tinygrad_rnn/optim/rules.py",
        'm += (1 - beta1) * (g - m)',
        'm += (1 - beta2) * (g - m)',
    ),
    Fault(
        "tests/optim/test_optim.py", "Adam without the bias correction of its second moment",
        "tinygrad_rnn/optim/rules.py", "/ (1 - beta2**t) ** 0.5", "",
    ),
    Fault(
        "tests/optim/test_flat.py", "maximize is forgotten where all are updated at once",
        "tinygrad_rnn/optim/flat.py",
        '-g if group.get("maximize") else g',
        'g',
    ),
    Fault(
        "tests/optim/test_scaler.py", "the scale is never found too large",
        "tinygrad_rnn/optim/scaler.py",
        'self._scale * self._backoff_factor',
        'self._scale',
    ),
    Fault(
        "tests/test_bptt.py", "nothing is truncated",
        "tinygrad_rnn/bptt.py", "cut = max(begin, end - k2)", "cut = begin",
    ),
    Fault(
        "tests/train/test_data.py", "every epoch has the order of the first",
        "tinygrad_rnn/train/data.py",
        'np.random.default_rng([self.seed, epoch])',
        'np.random.default_rng([self.seed, 0])',
    ),
    Fault(
        "tests/train/test_fit.py", "batches of all sizes weigh the same",
        "tinygrad_rnn/train/loop.py",
        'share = size / sum(sizes)',
        'share = 1 / len(sizes)',
    ),
    Fault(
        "tests/train/test_resume.py", "the log keeps what came after the checkpoint",
        "tinygrad_rnn/train/folder.py",
        '            os.truncate(self.log, self._logged)\n',
        '            pass\n',
    ),
    Fault(
        "tests/train/test_bad_input.py", "a NaN goes on",
        "tinygrad_rnn/train/loop.py",
        '            if not math.isfinite(total):\n',
        '            if False:\n',
    ),
    Fault(
        "tests/test_serialize.py", "a file is written in place, so a crash leaves half of it",
        "tinygrad_rnn/serialize.py",
        "    _replace(os.fspath(path), written)", "    open(path, 'wb').write(written)",
    ),
    Fault(
        "tests/test_doctor.py", "a package that is missing is passed over",
        "tinygrad_rnn/doctor.py",
        'is not installed" + ',
        '" + ',
    ),
    # -- kernels ---------------------------------------------------------------------------------------
    Fault(
        "tests/kernels/test_program.py", "what is cheap to compute again is kept",
        "tinygrad_rnn/kernels/program.py",
        'CHEAP = frozenset(["add", "subtract", "multiply", "negative"])',
        'CHEAP: frozenset[str] = frozenset()',
    ),
    Fault(
        "tests/kernels/test_cuda.py", "CUDA adds where the step subtracts",
        "tinygrad_rnn/kernels/cuda_emitter.py",
        '"subtract": "{0} - {1}"',
        '"subtract": "{0} + {1}"',
    ),
    Fault(
        "tests/kernels/test_emitters.py", "NumPy's loop exchanges the operands of a difference",
        "tinygrad_rnn/kernels/numpy_emitter.py",
        'args = [name(a) for a in step.args]',
        'args = [name(a) for a in step.args[:: -1 if step.op == "subtract" else 1]]',
    ),
    Fault(
        "tests/kernels/test_fused.py", "what must wait for the step before is computed ahead",
        "tinygrad_rnn/kernels/ahead.py",
        'a, b = inner.args if known[1] else inner.args[::-1]',
        'b, a = inner.args if known[1] else inner.args[::-1]',
    ),
    Fault(
        "tests/kernels/test_fused.py", "blocks run from the first one, even backward",
        "tinygrad_rnn/kernels/numpy_loops.py",
        'for i in range(0, steps, block)][::way]',
        'for i in range(0, steps, block)]',
    ),
    Fault(
        "tests/kernels/test_threads.py", "a thread counts the rows of all of them",
        "tinygrad_rnn/kernels/numpy_loops.py",
        '(counts - first).clip(0, last - first)',
        'counts.clip(0, last - first)',
    ),
    Fault(
        "tests/kernels/test_threads.py", "BLAS stays at one thread",
        "tinygrad_rnn/kernels/threads.py",
        'library.set_num_threads(number)',
        'library.set_num_threads(1)',
    ),
    Fault(
        "tests/kernels/test_emitters.py", "LLVM's loop leaves out what is left at a row's end",
        "tinygrad_rnn/kernels/llvm_emitter.py",
        '(lanes, lanes // 4, 1)',
        '(lanes, lanes // 4)',
    ),
    Fault(
        "tests/kernels/test_fused.py", "parts that do not line up are taken from other entries",
        "tinygrad_rnn/kernels/fusion.py",
        'if place is None or (isinstance(inner, Symbol) and (inner, 0) in self.registers):',
        'if place is None:',
    ),
    Fault(
        "tests/kernels/test_products.py", "the columns that are left over are not computed",
        "tinygrad_rnn/kernels/products.py",
        'b.sdiv(b.add(width, INT(size - 1)), INT(size))',
        'b.sdiv(width, INT(size))',
    ),
    Fault(
        "tests/kernels/test_products.py", "steps that stand apart are taken for one block of rows",
        "tinygrad_rnn/kernels/products.py",
        'b.icmp_signed("==", out_step, b.mul(rows, out_row))',
        'b.icmp_signed("==", out_step, out_step)',
    ),
    Fault(
        "tests/kernels/test_threads.py", "each thread computes the first rows' product with x",
        "tinygrad_rnn/kernels/llvm_loops.py",
        '_address(x), first * depth,',
        '_address(x), 0 * depth,',
    ),
    Fault(
        "tests/kernels/test_threads.py", "each direction takes as many threads as are allowed to both",
        "tinygrad_rnn/kernels/threads.py",
        '_here.number = each',
        '_here.number = before',
    ),
    Fault(
        "tests/kernels/test_threads.py", "the last rows belong to no thread",
        "tinygrad_rnn/kernels/threads.py",
        'pairwise([*ends, rows])',
        'pairwise([*ends, rows // _TOGETHER * _TOGETHER])',
    ),
    Fault(
        "tests/kernels/test_cuda.py", "the last entries have no thread",
        "tinygrad_rnn/kernels/cuda_loops.py",
        'blocks = -(-rows * entry.width // _THREADS)',
        'blocks = rows * entry.width // _THREADS',
    ),
    Fault(
        "tests/kernels/test_persistent.py", "blocks do not wait for each other",
        "tinygrad_rnn/kernels/persistent_emitter.py",
        'while (int(*(volatile unsigned *)arrived - expected) < 0);',
        ';',
    ),
    Fault(
        "tests/kernels/test_persistent.py", "a fast block overwrites what a slow one still reads",
        "tinygrad_rnn/kernels/fusion.py",
        'self._time = "old" if whole_stages else ""',
        'self._time = ""',
    ),
    Fault(
        "tests/kernels/test_fused.py", "a piece of a joined value is its beginning, wherever it is cut",
        "tinygrad_rnn/kernels/form.py",
        'self.piece(piece, start - first, stop - first)',
        'self.piece(piece, 0, stop - start)',
    ),
    Fault(
        "tests/kernels/test_fused.py", "the last state of every sequence is that of the longest's end",
        "tinygrad_rnn/kernels/loops.py",
        'far = length.steps if length.ends is None else',
        'far = length.steps if True else',
    ),
    Fault(
        "tests/kernels/test_fused.py", "the gradient of a state has the first of its terms only",
        "tinygrad_rnn/kernels/loops.py",
        'for j in range(1, len(terms)):',
        'for j in range(1, 1):',
    ),
]  # fmt: skip

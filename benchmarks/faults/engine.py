"""Faults of the engine, and of what looks along its tape."""

from __future__ import annotations

from benchmarks.faults import Fault

ENGINE = [
    Fault(
        "tests/test_scope.py", "a place stays when its block is left",
        "tinygrad_rnn/scope.py", "here.scope = self._before.pop()", "self._before.pop()",
    ),
    Fault(
        "tests/test_namespaces.py", "a write through a view is not noticed",
        "tinygrad_rnn/namespaces.py", "        array = array.base\n", "        break\n",
    ),
    Fault(
        "tests/test_tensor.py", "a detached Tensor forgets that it was cut",
        "tinygrad_rnn/tensor.py",
        'cut=True, key=',
        'key=',
    ),
    Fault(
        "tests/test_interop.py", "NumPy's operators no longer leave a Tensor to itself",
        "tinygrad_rnn/tensor.py", "    __array_ufunc__ = None\n", "",
    ),
    Fault(
        "tests/test_strict.py", "an optimiser looks at a value of the device",
        "tinygrad_rnn/optim/flat.py",
        '        namespaces.note_write(self.stored)\n',
        '        float(self.stored.sum().item())\n        namespaces.note_write(self.stored)\n',
    ),
    Fault(
        "tests/test_primitive.py", "every input is kept, asked for or not",
        "tinygrad_rnn/plan.py",
        'slots = primitive.slots(rules.values())',
        'slots = {p.name: i for i, p in enumerate(primitive.inputs)} | primitive.slots(rules.values())',
    ),
    Fault(
        "tests/test_sweep.py", "broadcasting is undone along the wrong axes",
        "tinygrad_rnn/broadcasting.py",
        'axes = [i + extra for i,',
        'axes = [i for i,',
    ),
    Fault(
        "tests/test_rows.py", "of what many steps give to a weight the last is lost",
        "tinygrad_rnn/rows.py",
        'there.steps.append(values)',
        'there.steps[-1] = values',
    ),
    Fault(
        "tests/test_autodiff.py", "a gradient shares the memory of what made it",
        "tinygrad_rnn/sweep.py",
        'return xp.array(g, copy=True)',
        'return g',
    ),
    Fault(
        "tests/test_modes.py", "the end of a block does not bring recording back",
        "tinygrad_rnn/modes.py",
        '        mode.set(self._before)\n',
        '        pass\n',
    ),
    Fault(
        "tests/test_depth.py", "backward keeps what the rules needed",
        "tinygrad_rnn/sweep.py",
        '        if not keep:\n            node.saved, node.parents = None, ()\n    return found',
        '    return found',
    ),
    Fault(
        "tests/test_derivatives.py", "the columns of a Jacobian stand as its rows",
        "tinygrad_rnn/derivatives.py",
        'inputs[0], -1),)',
        'inputs[0], 0),)',
    ),
    Fault(
        "tests/test_errors.py", "a checkpointed sequence of no steps is tried all the same",
        "tinygrad_rnn/checkpoint.py",
        "    if length == 0:\n", "    if False:\n",
    ),
    Fault(
        "tests/test_checkpoint.py", "the second run draws what comes next, not what the first drew",
        "tinygrad_rnn/checkpoint.py",
        'enable_grad(), namespaces.random_replayed(self.random)',
        'enable_grad()',
    ),
    Fault(
        "tests/test_check.py", "the second order is never looked at",
        "tinygrad_rnn/check.py", "    if order < last:\n", "    if order < 0:\n",
    ),
    Fault(
        "tests/ops/test_gradients.py", "tanh's rule forgets its one",
        "tinygrad_rnn/ops/functions.py",
        'g * (special.one(y) - y * y)',
        'g * (y * y)',
    ),
    Fault(
        "tests/ops/test_traps.py", "gradients of repeated indices overwrite each other",
        "tinygrad_rnn/ops/index.py",
        '    if _once(key):\n',
        '    if True:\n',
    ),
    Fault(
        "tests/parity/test_ops.py", "the deviation ignores its correction",
        "tinygrad_rnn/ops/reduce.py",
        'freedom = _count(x.shape, axis) - correction',
        'freedom = _count(x.shape, axis)',
    ),
    # -- what looks along the tape ---------------------------------------------------------------------
    Fault(
        "tests/test_trace.py", "a value used twice by one operation keeps one edge",
        "tinygrad_rnn/trace.py",
        'for slot, parent in enumerate(node.parents):',
        'for slot, parent in enumerate(dict.fromkeys(node.parents)):',
    ),
    Fault(
        "tests/test_flow.py", "local and future are exchanged",
        "tinygrad_rnn/flow.py", 'self.local = self._table("h", shape, lambda w: w.local)',
        'self.local = self._table("h", shape, lambda w: w.future)',
    ),
    Fault(
        "tests/test_floors.py", "the engine imports the pictures",
        "tinygrad_rnn/trace.py",
        "from tinygrad_rnn.unfuse import", "import visual\nfrom tinygrad_rnn.unfuse import",
    ),
]  # fmt: skip

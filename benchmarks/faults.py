"""Faults planted on purpose, at least one for every test file, and the test that catches each.

    python -m benchmarks.faults            all of them, a few minutes
    python -m benchmarks.faults flow nn    those whose test file's path has one of these words

A test that cannot fail proves nothing. So each row below breaks one line in a scratch copy of the project, as
a slip of the hand might, and runs the test file that claims to hold that line. The command prints which test
fell first, and ends with exit code 1 if a fault stayed unseen.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    """What is wrong once `old` (which stands in `file` just once) is `new`, and who should notice."""

    tests: str
    what: str
    file: str
    old: str
    new: str


FAULTS = [
    # -- the engine ------------------------------------------------------------------------------------
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
    # -- networks --------------------------------------------------------------------------------------
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
        'args = [self._name(a) for a in step.args]',
        'args = [self._name(a) for a in step.args[:: -1 if step.op == "subtract" else 1]]',
    ),
    Fault(
        "tests/kernels/test_products.py", "the columns that are left over are not computed",
        "tinygrad_rnn/kernels/products.py",
        'b.sdiv(b.add(width, _INT(size - 1)), _INT(size))',
        'b.sdiv(width, _INT(size))',
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
        "tinygrad_rnn/kernels/cuda_emitter.py",
        'self._time = "old" if whole_stages else ""',
        'self._time = ""',
    ),
    Fault(
        "tests/kernels/test_fused.py", "the gradient of a state has the first of its terms only",
        "tinygrad_rnn/kernels/loops.py",
        'for j in range(1, len(terms)):',
        'for j in range(1, 1):',
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
    # -- pictures --------------------------------------------------------------------------------------
    Fault(
        "tests/visual/test_picture.py", "an exact zero has the colour of what was not computed",
        "visual/gradients.py",
        '"zero": "zero"',
        '"zero": "faint"',
    ),
    Fault(
        "tests/visual/test_writers.py", "markup in a label reaches the page",
        "visual/svg.py", '.replace("<", "&lt;")', "",
    ),
    Fault(
        "tests/visual/test_writers.py", "two names that are written alike are one box",
        "visual/sources.py", "while v.id not in taken and name in taken:", "while False:",
    ),
    Fault(
        "tests/visual/test_writers.py", "a token of one view reaches the page as it is",
        "visual/svg.py", "{more}>{escape(text)}", "{more}>{text}",
    ),
    Fault(
        "tests/visual/test_writers.py", "all pictures of a notebook share their ids",
        "visual/picture.py", "prefix=f\"p{crc32(self.pipe('svg')):08x}\"", "prefix='p'",
    ),
    Fault(
        "tests/visual/test_picture.py", "a step has only the lanes of its own arrows",
        "visual/grid.py", "kinds.setdefault(built, _Kind(", "kinds.setdefault((built, key), _Kind(",
    ),
    Fault(
        "tests/visual/test_alike.py", "copied steps stand a point off",
        "visual/alike.py",
        'plan.place[twin] = Rect(rect.x + dx, rect.y,',
        'plan.place[twin] = Rect(rect.x + dx + 1, rect.y,',
    ),
    Fault(
        "tests/visual/test_limits.py", "what would take forever to draw is begun",
        "visual/unroll.py", "    if count > LARGEST:", "    if count > 100 * LARGEST:",
    ),
    Fault(
        "tests/visual/test_plots.py", "the first layer stands on top",
        "visual/plots.py", '"origin": "lower"', '"origin": "upper"',
    ),
    Fault(
        "tests/visual/test_plots.py", "an exact zero of a plot looks as if it had not been computed",
        "visual/plots.py", "        if where.any():", "        if where.all():",
    ),
    Fault(
        "tests/visual/test_plots.py", "losses that share a row show their first alone",
        "visual/plots.py", "_largest(values[s : s + each])", "_largest(values[s : s + 1])",
    ),
    Fault(
        "tests/visual/test_attention.py", "the first written word stands at the bottom",
        "visual/attention.py",
        'values[::-1].tolist()',
        'values.tolist()',
    ),
    Fault(
        "tests/visual/test_rolled.py", "a loop back is a loop on the spot",
        "visual/rolled.py", "(b.time or 0) - (a.time or 0), cut)", "0, cut)",
    ),
    Fault(
        "tests/visual/test_compare.py", "a changed norm is no difference",
        "visual/compare.py",
        '_ratio(norm, after)) > SAME',
        '_ratio(norm, norm)) > SAME',
    ),
    Fault(
        "tests/visual/test_truncation.py", "an edge that was cut looks like any other",
        "visual/gradients.py",
        '        if e.cut:\n            colour',
        '        if False:\n            colour',
    ),
    Fault(
        "tests/visual/test_truncation.py", "a state that was cut is a gate beside itself",
        "tinygrad_rnn/levels.py", 'if v.kind == "cut" and', 'if v.kind == "none" and',
    ),
    Fault(
        "tests/visual/test_compare.py", "cells of two kinds are drawn as one",
        "visual/compare.py", "if _parts(left) != _parts(right):", "if False:",
    ),
    Fault(
        "tests/visual/test_continued.py", "a state that is handed on stands where a row begins",
        "visual/rail.py",
        'if v.kind in kinds and v.time is None} - made',
        'if v.kind in kinds and v.time is None}',
    ),
    Fault(
        "tests/visual/test_blocks.py", "a block of several parts has no frame",
        "visual/page.py",
        'if len(inside) < 2:',
        'if len(inside) < 99:',
    ),
    Fault(
        "tests/visual/test_blocks.py", "a name in a frame repeats the frame's",
        "visual/page.py", "label=v.label.removeprefix(", "label=v.label.removesuffix(",
    ),
    Fault(
        "tests/visual/test_blocks.py", "a shortcut runs outside its frame",
        "visual/page.py", ".extend(x for x, _ in route)", ".extend(())",
    ),
    Fault(
        "tests/visual/test_hybrids.py", "a recursion climbs a storey at each step",
        "visual/grid.py", "return -1 != plan.home[a][1] != plan.home[b][1] != -1", "return False",
    ),
    Fault(
        "tests/visual/test_hybrids.py", "a step of a decoder stands where the encoder begins",
        "tinygrad_rnn/nn/seq2seq.py",
        '        with at(time=time):\n',
        '        with at(time=0):\n',
    ),
    Fault(
        "tests/visual/test_identities.py", "a projection is on the gradient's direction, without its length",
        "tinygrad_rnn/flow.py",
        'size, along / norm if norm',
        'size, along if norm',
    ),
    Fault(
        "tests/visual/test_training.py", "the ring marks the worst epoch",
        "visual/training.py",
        'np.nanargmin',
        'np.nanargmax',
    ),
    Fault(
        "tests/visual/test_cli.py", "a wrong call ends as if it had gone well",
        "visual/cli.py",
        '        return 2\n',
        '        return 0\n',
    ),
    # -- examples and pages ------------------------------------------------------------------------------
    Fault(
        "tests/examples/test_names.py", "the rarer use of a name counts",
        "examples/names.py",
        'max(share, key=share.__getitem__)',
        'min(share, key=share.__getitem__)',
    ),
    Fault(
        "tests/examples/test_questions.py", "the share of a step is measured against all of the others",
        "examples/which_step.py",
        '(whole * whole).sum()',
        '(parts * parts).sum()',
    ),
    Fault(
        "tests/examples/test_tasks.py", "copying's page knows another chance",
        "examples/copying.py",
        '(WAIT + 2 * KEPT)',
        '(WAIT + KEPT)',
    ),
    Fault(
        "tests/examples/test_own_cell.py", "it writes what it did expect",
        "examples/own_cell.py", "s=1 - ops.exp(", "s=ops.exp(",
    ),
    Fault(
        "tests/examples/test_results.py", "the table shows the best seed for the mean",
        "examples/results.py",
        'statistics.fmean(values)',
        'max(values)',
    ),
    Fault(
        "tests/examples/test_gallery.py", "the gallery names a picture that nobody draws",
        "docs/gallery.md",
        '(pictures/rolled.svg)',
        '(pictures/rolled-up.svg)',
    ),
    Fault(
        "tests/benchmarks/test_gpu.py", "the ratio stands upside down",
        "benchmarks/gpu.py",
        't / theirs:.2f',
        'theirs / t:.2f',
    ),
    Fault(
        "tests/benchmarks/test_faults.py", "a planted line is not mended",
        "benchmarks/faults.py",
        '    finally:\n        path.write_text(sound',
        '    finally:\n        path.write_text(broken',
    ),
    Fault(
        "tests/test_docs.py", "an example says a number that the code does not give",
        "tinygrad_rnn/scope.py",
        '.time\n    3\n',
        '.time\n    4\n',
    ),
]  # fmt: skip
"""Roughly in the order of the floors; a test holds that every test file has one, and that each still fits."""


class Seen(NamedTuple):
    """What became of a fault: the test that fell first, or "" if none did."""

    fault: Fault
    test: str


def plant(fault: Fault, house: Path) -> Seen:
    """Break one line below `house`, run the test file that should notice, and mend the line."""
    path = house / fault.file
    sound = path.read_text(encoding="utf-8")
    broken = sound.replace(fault.old, fault.new)
    path.write_text(broken, encoding="utf-8")
    command = [sys.executable, "-Bm", "pytest", "-xq", "--no-header", "-p", "no:cacheprovider", fault.tests]
    try:
        said = subprocess.run(command, cwd=house, capture_output=True, text=True).stdout
    finally:
        path.write_text(sound, encoding="utf-8")
    fell = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    return Seen(fault, fell[1].partition("::")[2] or "on import" if fell else "")


def main(words: list[str]) -> int:
    """Plant the faults whose test file's path has one of the words, all by default."""
    chosen = [f for f in FAULTS if not words or any(word in f.tests for word in words)]
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder) / "house"
        shutil.copytree(ROOT, house, ignore=shutil.ignore_patterns(".*", "out", "__pycache__", "*.egg-info"))
        for fault in chosen:
            seen = plant(fault, house)
            unseen += not seen.test
            print(f"{fault.tests}\n    {fault.what}\n    {seen.test or 'NOT CAUGHT'}", flush=True)
    print(f"{len(chosen) - unseen} of {len(chosen)} faults caught")
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

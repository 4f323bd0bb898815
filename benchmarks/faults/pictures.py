"""Faults of pictures, examples and pages."""

from __future__ import annotations

from benchmarks.faults import Fault

PICTURES = [
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
        "tests/visual/test_alike.py", "copied arrows stand a point off",
        "visual/alike.py", "shifts = [0.0, *(dx for", "shifts = [0.0, *(dx + 1 for",
    ),
    Fault(
        "tests/visual/test_alike.py", "a copy bears the numbers of another",
        "visual/gradients.py",
        '"title": [describe(link) for link in links],',
        '"title": [describe(links[0]) for link in links],',
    ),
    Fault(
        "tests/visual/test_writers.py", "a look that all copies share is written for the first alone",
        "visual/picture.py", "for name in names), len(self.shifts))", "for name in names), 1)",
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
        'return "cut" if e.cut else',
        'return "cut" if False else',
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
        "benchmarks/faults/__main__.py",
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

"""A step is read on symbols: what is computed, what is saved, and what cannot be read."""

from __future__ import annotations

import pytest

from tests.kernels.cases import CASES, HIDDEN, program_of
from tinygrad_rnn import ops
from tinygrad_rnn.kernels.program import POINTWISE, NotCompilable
from tinygrad_rnn.kernels.reading import read
from tinygrad_rnn.kernels.scheduling import backward_schedule
from tinygrad_rnn.nn.cells import lstm_definition


def count(values):
    return sum(v.op in POINTWISE for v in values)


def test_the_lstm_is_nine_assignments_on_its_gates_and_twenty_two_backward():
    program = program_of(CASES["lstm"])
    wide = [v for v in program.forward if v.op == "add" and program.width[v] == 4 * HIDDEN]
    assert len(wide) == 2  # both products, and all biases as one
    assert count(program.forward) - len(wide) == 9
    assert count(program.backward) == 22


def test_the_lstm_saves_what_the_textbook_saves():
    program = program_of(CASES["lstm"])
    after = program.after[1]
    gates = [v for v in program.saved if v.op in ("sigmoid", "tanh") and v.args[0].op == "part"]
    assert sorted(v.op for v in gates) == ["sigmoid"] * 3 + ["tanh"]  # i, f, o and g
    assert [v for v in program.saved if v not in gates] == [ops.tanh(after)]
    assert program.kept == (True, True)  # h, and the sequence of c


def test_the_gru_saves_three_gates_and_the_part_that_the_reset_gate_meets():
    saved = program_of(CASES["gru"]).saved
    assert sorted(v.op for v in saved) == ["part", "sigmoid", "sigmoid", "tanh"]


def test_a_simple_network_saves_nothing_but_its_states():
    assert program_of(CASES["rnn"]).saved == program_of(CASES["relu"]).saved == ()


def test_what_is_cheap_is_computed_again():
    program = program_of(CASES["coupled"])  # i = 1 - f
    assert "subtract" not in {v.op for v in program.saved}


def test_products_with_the_input_alone_are_hoisted_also_out_of_a_joined_input():
    for name, (hoisted, others) in {"lstm": (1, 1), "reset before": (1, 3), "invented": (2, 2)}.items():
        products = [v for v in program_of(CASES[name]).forward if v.op == "product"]
        from_x = [v for v in products if str(v.args[0]) == "x"]
        assert (len(from_x), len(products) - len(from_x)) == (hoisted, others), name


def test_equal_values_are_computed_once():
    program = read(lambda x, h, w: ops.tanh(x + h) * ops.tanh(x + h), 3, {"h": 3}, {})
    assert count(program.forward) == 3


def test_weight_gradients_wait_until_after_the_loop():
    schedule = backward_schedule(program_of(CASES["lstm"]), POINTWISE)
    assert [len(stage.products) for stage in schedule.stages] == [0, 1]  # only dh
    assert {kind for kind, _ in schedule.shapes.values()} <= {"steps", "states", "rows", "matrix"}


def test_every_line_of_a_printed_program_has_a_name_of_its_own():
    lines = str(program_of(CASES["coupled"])).splitlines()
    names = [line.split(" = ")[0] for line in lines if " = " in line]
    assert len(names) == len(set(names))


def looks_at_values(x, h, w):
    return h if h > x else x


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            lambda x, h, w: ops.softmax(h + x, axis=-1),
            "softmax is neither a product .* nor computed entry by entry",
        ),
        (looks_at_values, "cannot branch on the value"),
        (lambda x, h, w: (h, h), "expected the step to return 1 states"),
        (lambda x, h, w: h + w.wide, "values of one width"),
        (lambda x, h, w: w.bias + w.bias, "expected a state h of 3 features"),
        (lambda x, h, w: ops.linear(h, w.bias), "row value and a weight matrix"),
        (lambda x, h, w: ops.linear(h, ops.tanh(w.square)), r"one width in tanh\(square\)"),
        (lambda x, h, w: ops.reshape(h, (x.shape[0], -1)), "reshape is neither"),
        (lambda x, h, w: ops.concatenate([x, h], axis=-1), "got concatenate"),
        (lambda x, h, w: h[:, ::2], "slice of features"),
        (lambda x, h, w: h[:1], "slice of features"),
        (lambda x, h, w: h[:, 3:], "slice of features"),
        (lambda x, h, w: h[:, 0], "slice of features"),
    ],
)
def test_what_cannot_be_read_is_said(step, said):
    weights = {"wide": (6,), "bias": (3,), "square": (3, 3)}
    with pytest.raises(NotCompilable, match=said):
        read(step, 3, {"h": 3}, weights)


def test_layer_norm_is_not_pointwise():
    definition = lstm_definition(layer_norm=True)
    shapes = {"keep": None, **definition.shapes(3, 4)}
    with pytest.raises(NotCompilable, match="neither a product"):
        read(definition.step, 3, {"h": 4, "c": 4}, shapes)

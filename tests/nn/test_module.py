"""A Module holds what is assigned to it, knows its name, and loads all or nothing."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, ops


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(3, 4, 2, bidirectional=True)
        self.head = nn.Linear(8, 2)
        self.scale = nn.Parameter(tg.ones(1))
        self.register_buffer("mean", tg.zeros(3))
        self.register_buffer("scratch", tg.zeros(1), persistent=False)

    def forward(self, x):
        return self.head(self.encoder(x - self.mean)[0]) * self.scale


def test_parameters_stand_in_pytorchs_order_own_ones_first():
    names = [name for name, _ in Net().named_parameters()]
    assert names[:3] == ["scale", "encoder.weight_ih_l0", "encoder.weight_hh_l0"]
    assert names[-2:] == ["head.weight", "head.bias"]
    assert "encoder.bias_hh_l1_reverse" in names and len(names) == 19


def test_persistent_buffers_are_saved_and_others_not():
    state = Net().state_dict()
    assert "mean" in state and "scratch" not in state
    assert not any(value.requires_grad for value in state.values())


def test_a_state_dict_loads_into_another_instance():
    a, b, x = Net(), Net(), tg.randn(5, 2, 3)
    assert not np.array_equal(a(x).numpy(), b(x).numpy())
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a(x).numpy(), b(x).numpy())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("head.bias"), "missing: head.bias"),
        (lambda s: s.update(extra=np.ones(2)), "unexpected: extra"),
        (lambda s: s.update({"head.bias": np.ones(3)}), r"misshapen: head.bias \(3,\) instead of \(2,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_one_sentence_and_changes_nothing(change, said):
    net = Net()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    state = {name: np.full(value.shape, 7.0) for name, value in net.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=f"expected the state of this Net, got one with .*{said}"):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_without_strict_names_may_differ_but_shapes_may_not():
    net = nn.Linear(2, 1)
    found = net.load_state_dict({"bias": np.array([5.0]), "other": np.ones(1)}, strict=False)
    assert found == (["weight"], ["other"]) and net.bias.item() == 5
    with pytest.raises(ValueError, match="misshapen"):
        net.load_state_dict({"bias": np.ones(2)}, strict=False)


def test_loading_counts_as_a_write_that_backward_notices():
    net = nn.Linear(2, 1)
    y = ops.tanh(net(tg.randn(3, 2).requires_grad_())).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(tg.InPlaceError):
        y.backward()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_copy_and_pickle_whole(again):
    net = Net().eval()
    other, x = again(net), tg.randn(5, 2, 3)
    np.testing.assert_array_equal(net(x).numpy(), other(x).numpy())
    assert other.encoder.weight_hh_l0.name == "weight_hh_l0" and not other.training
    other.scale.copy_(2.0)
    assert net.scale.item() == 1
    other(x).sum().backward()
    assert net.scale.grad is None and other.scale.grad is not None


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert not any(m.training for m in net.eval().modules())
    np.testing.assert_array_equal(net(tg.ones(50)).numpy(), 1)
    assert all(m.training for m in net.train().modules())
    assert (net(tg.ones(50)).numpy() == 0).any()


def test_to_changes_dtype_in_place_so_that_an_optimiser_still_knows_its_parameters():
    net = Net()
    weight = net.head.weight
    net(tg.randn(2, 1, 3)).sum().backward()
    assert net.to("float64") is net and net.head.weight is weight
    assert weight.dtype == np.float64 and weight.grad.dtype == np.float64 and weight.name == "weight"
    assert net.mean.dtype == np.float64
    assert net(tg.randn(2, 1, 3, dtype="float64")).dtype == np.float64
    with pytest.raises(TypeError, match="floating dtype"):
        net.to("int64")


def test_calls_mark_their_path_in_the_scope():
    net = Net()
    scopes = {(v.module, v.layer) for v in tg.trace(net(tg.randn(2, 1, 3))).nodes if v.kind != "parameter"}
    assert ("encoder", 0) in scopes and ("encoder", 1) in scopes and ("head", None) in scopes
    assert ("", None) in scopes


def test_inside_a_time_step_the_step_keeps_its_place():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_size, self.hidden_size = 3, 4
            self.inner = nn.Linear(7, 4)

        def forward(self, x, h):
            return ops.tanh(self.inner(ops.concatenate([x, h], axis=-1)))

    net = nn.Sequential(nn.Linear(3, 3), nn.Recurrent(Cell()))
    nodes = tg.trace(net(tg.randn(2, 1, 3))[0]).nodes
    assert {v.module for v in nodes if v.direction} == {"1"}


def test_a_list_lends_its_name_to_its_children():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    net = Stack()
    assert [v.module for v in tg.trace(net(tg.ones(1, 2))).nodes if v.op == "linear"] == [
        "layers.0",
        "layers.1",
    ]
    assert next(iter(net.state_dict())) == "layers.0.weight"


def test_shared_parameters_count_once_and_are_saved_under_each_name():
    net = nn.Module()
    net.a = nn.Linear(2, 2)
    net.b = net.a
    assert len(list(net.parameters())) == 2 and len(net.state_dict()) == 4


def test_zero_grad_forgets_or_writes_zeros():
    net = nn.Linear(2, 1)
    net(tg.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert (net.weight.grad.numpy() == 0).all()
    net.zero_grad()
    assert net.weight.grad is None


def test_a_parameter_is_not_silently_replaced_by_a_tensor():
    net = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="expected a Parameter or None for parameter 'weight'"):
        net.weight = tg.ones(1, 2)


def test_repr_shows_the_tree():
    assert repr(Net()).splitlines()[1] == "  (encoder): LSTM(3, 4, num_layers=2, bidirectional=True)"


def test_apply_goes_from_the_inside_out():
    seen = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Net" and sorted(seen) == ["LSTM", "Linear", "Net"]

"""Attention and Transformers: what the weights are, what masks hide, positions, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F


@pytest.fixture
def attention():
    return nn.MultiheadAttention(6, 2, dtype="float64")


def test_one_head_is_the_equation_of_the_paper(rng):
    q, k, v = rng.standard_normal((3, 4)), rng.standard_normal((5, 4)), rng.standard_normal((5, 2))
    e = np.exp(q @ k.T / np.sqrt(4))
    by_hand = e / e.sum(axis=1, keepdims=True) @ v
    found = F.scaled_dot_product_attention(*map(tg.tensor, (q, k, v))).numpy()
    np.testing.assert_allclose(found, by_hand)


def test_weights_are_distributions_and_zero_where_masked(attention, rng):
    x = tg.tensor(rng.standard_normal((4, 2, 6)))
    padding = np.array([[False, False, False, True], [False, True, False, True]])
    _, each = attention(x, x, x, key_padding_mask=padding, average_attn_weights=False)
    _, mean = attention(x, x, x, key_padding_mask=padding)
    assert each.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(each.numpy().sum(axis=-1), 1)
    np.testing.assert_allclose(mean.numpy(), each.numpy().mean(axis=1))
    assert (each.numpy()[:, :, :, 3] == 0).all() and (each.numpy()[1, :, :, 1] == 0).all()
    assert attention(x, x, x, need_weights=False)[1] is None


def test_what_is_masked_gets_no_gradient(attention, rng):
    x = tg.tensor(rng.standard_normal((4, 1, 6)))
    memory = tg.tensor(rng.standard_normal((3, 1, 6)), requires_grad=True)
    y, _ = attention(x, memory, memory, key_padding_mask=np.array([[False, False, True]]))
    g = tg.grad(y.sum(), memory).numpy()
    assert (g[2] == 0).all() and (g[:2] != 0).all()


def test_a_query_that_may_look_nowhere_gets_zeros_and_finite_gradients(attention, rng):
    x = tg.tensor(rng.standard_normal((3, 1, 6)), requires_grad=True)
    mask = np.zeros((3, 3), dtype=bool)
    mask[1] = True
    y, weights = attention(x, x, x, attn_mask=mask)
    assert (weights.numpy()[0, 1] == 0).all()
    np.testing.assert_allclose(y.numpy()[1, 0], attention.out_proj.bias.numpy())
    assert np.isfinite(tg.grad((y * y).sum(), x).numpy()).all()


def test_causal_attention_knows_nothing_of_later_steps(rng):
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, dtype="float64")
    x = rng.standard_normal((5, 1, 6))
    changed = x.copy()
    changed[3:] += 1
    a, b = (layer(tg.tensor(v), is_causal=True).numpy() for v in (x, changed))
    np.testing.assert_array_equal(a[:3], b[:3])
    assert (a[3:] != b[3:]).all()
    ahead = np.triu(np.ones((5, 5), dtype=bool), 1)
    np.testing.assert_array_equal(a, layer(tg.tensor(x), src_mask=ahead).numpy())


def test_a_boolean_mask_of_the_function_is_true_where_one_may_look(rng):
    x = tg.tensor(rng.standard_normal((4, 4)))
    allowed = np.tril(np.ones((4, 4), dtype=bool))
    for mask in (allowed, np.where(allowed, 0.0, -np.inf)):
        found = F.scaled_dot_product_attention(x, x, x, tg.tensor(mask))
        assert (found == F.scaled_dot_product_attention(x, x, x, is_causal=True)).all()


def test_without_positions_an_encoder_does_not_know_the_order(rng):
    layer, places = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0), nn.PositionalEncoding(6, dropout=0.0)
    x = rng.standard_normal((5, 1, 6)).astype("f")
    turned = x[::-1].copy()
    np.testing.assert_allclose(layer(tg.tensor(turned)).numpy(), layer(tg.tensor(x)).numpy()[::-1], atol=1e-5)
    a, b = layer(places(tg.tensor(turned))).numpy(), layer(places(tg.tensor(x))).numpy()[::-1]
    assert abs(a - b).max() > 0.01


@pytest.mark.parametrize("width", [4, 5])
def test_positions_are_sines_and_cosines_and_a_shift_turns_them(width):
    places = nn.PositionalEncoding(width, dropout=0.0, dtype="float64")
    table = places(tg.zeros(30, width, dtype="float64")).numpy()
    np.testing.assert_allclose(table[7, 2], np.sin(7 / 10000 ** (2 / width)))
    np.testing.assert_allclose(table[7, 3], np.cos(7 / 10000 ** (2 / width)))
    turn = np.array([[np.cos(3), np.sin(3)], [-np.sin(3), np.cos(3)]])
    np.testing.assert_allclose(table[3:, :2], table[:-3, :2] @ turn.T, atol=1e-12)
    batch_first = nn.PositionalEncoding(width, dropout=0.0, batch_first=True, dtype="float64")
    np.testing.assert_array_equal(batch_first(tg.zeros(2, 30, width, dtype="float64")).numpy()[1], table)
    assert not list(places.state_dict())


def test_layers_of_a_stack_start_alike_and_learn_apart(rng):
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, nn.LayerNorm(4))
    a, b = (layer.linear1.weight for layer in net.layers)
    assert (a.numpy() == b.numpy()).all() and a is not b
    net(tg.randn(3, 1, 4)).sum().backward()
    assert (a.grad.numpy() != b.grad.numpy()).any()
    assert next(iter(net.state_dict())) == "layers.0.self_attn.in_proj_weight"


def test_dropout_is_off_in_evaluation():
    net, x = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5), tg.randn(3, 2, 4)
    assert (net(x) != net(x)).any()
    assert (net.eval()(x) == net(x)).all()


# -- for recurrent decoders ----------------------------------------------------------------------------


def by_softmax(scores, memory):
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return np.einsum("ns,snm->nm", weights, memory), weights


def test_additive_attention_is_bahdanaus_and_luongs_concat(rng):
    net = nn.AdditiveAttention(3, 4, 5, dtype="float64")
    q, memory = rng.standard_normal((2, 3)), rng.standard_normal((6, 2, 4))
    both = np.concatenate([np.broadcast_to(q, (6, 2, 3)), memory], axis=-1)
    w = np.concatenate([net.query.weight.numpy(), net.memory.weight.numpy()], axis=1)
    scores = np.tanh(both @ w.T + net.query.bias.numpy()) @ net.energy.weight.numpy()[0]
    for found, expected in zip(
        net(tg.tensor(q), tg.tensor(memory)), by_softmax(scores.T, memory), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize("method", ["dot", "general"])
def test_multiplicative_attention_is_luongs(method, rng):
    net = nn.MultiplicativeAttention(4, 4, method, batch_first=True, dtype="float64")
    q, memory = rng.standard_normal((2, 4)), rng.standard_normal((2, 6, 4))
    w = np.eye(4) if method == "dot" else net.map.weight.numpy()
    scores = np.einsum("ni,ij,nsj->ns", q, w, memory)
    expected = by_softmax(scores, memory.swapaxes(0, 1))
    found = net(tg.tensor(q), tg.tensor(memory))
    kept = net(tg.tensor(q), tg.tensor(memory), net.keys(tg.tensor(memory)))
    for a, b, c in zip(found, kept, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), c)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_decoder_does_not_look_at_the_padding(rng):
    net = nn.AdditiveAttention(3, 4, 5, dtype="float64")
    q, memory = rng.standard_normal((2, 3)), rng.standard_normal((6, 2, 4))
    padding = np.arange(6) >= np.array([[4], [6]])
    context, weights = net(tg.tensor(q), tg.tensor(memory), key_padding_mask=padding)
    alone, _ = net(tg.tensor(q[:1]), tg.tensor(memory[:4, :1]))
    assert (weights.numpy()[0, 4:] == 0).all()
    np.testing.assert_allclose(context.numpy()[0], alone.numpy()[0])


def test_derivatives_to_second_order(rng):
    x, m = rng.standard_normal((2, 1, 4)), rng.standard_normal((3, 1, 4))
    net = nn.MultiheadAttention(4, 2, dtype="float64")
    tg.check_grads(lambda x, m: net(x, m, m)[0], x, m, order=2)
    for decoder in (nn.AdditiveAttention(4, 4, 3, dtype="float64"), nn.MultiplicativeAttention(4, 4, "dot")):
        tg.check_grads(lambda q, m, net=decoder: net(q, m)[0], x[0], m, order=2)


def x(*shape):
    return tg.zeros(*shape)


MHA = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
SAME = nn.MultiheadAttention(4, 2)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: nn.MultiheadAttention(5, 2), ValueError, "embed_dim that num_heads divides, got 5 and 2"),
        (lambda: MHA(x(2, 1, 5), x(2, 1, 3), x(2, 1, 5)), ValueError, r"query \(T, N, 4\) or .* got \(2"),
        (lambda: MHA(x(2, 1, 4), x(2, 1, 4), x(2, 1, 5)), ValueError, r"expected key \(T, N, 3\)"),
        (lambda: MHA(x(2, 1, 4), x(2, 1, 3), x(3, 1, 5)), ValueError, "as many keys as values"),
        (lambda: SAME(x(2, 1, 4), x(2, 3, 4), x(2, 3, 4)), ValueError, "expected one batch"),
        (lambda: SAME(x(2, 4), x(2, 1, 4), x(2, 1, 4)), ValueError, "expected one batch"),
        (
            lambda: SAME(*[x(2, 3, 4)] * 3, attn_mask=np.zeros((3, 2), bool)),
            ValueError,
            r"attn_mask \(2, 2\) or \(6, 2, 2\), got \(3, 2\)",
        ),
        (
            lambda: SAME(*[x(2, 3, 4)] * 3, key_padding_mask=np.zeros((2, 3), bool)),
            ValueError,
            r"key_padding_mask \(3, 2\), got \(2, 3\)",
        ),
        (
            lambda: SAME(*[x(2, 3, 4)] * 3, attn_mask=np.zeros((2, 2), int)),
            TypeError,
            "attn_mask to be boolean or floating, got int64",
        ),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh"), ValueError, "'gelu' or a function"),
        (lambda: nn.TransformerEncoder(nn.Tanh(), 0), ValueError, "at least one layer, got 0"),
        (lambda: nn.PositionalEncoding(4, max_len=3)(x(4, 1, 4)), ValueError, "at most 3 steps of width 4"),
        (lambda: nn.PositionalEncoding(4)(x(4, 1, 5)), ValueError, r"got \(4, 1, 5\)"),
        (lambda: nn.MultiplicativeAttention(4, 4, "concat"), ValueError, "AdditiveAttention is Luong's"),
        (lambda: nn.MultiplicativeAttention(4, 3, "dot"), ValueError, "one size for method 'dot', got 4"),
        (lambda: nn.AdditiveAttention(4, 3, 2)(x(1, 4), x(5, 3)), ValueError, r"memory with 3 axes, got \(1"),
        (lambda: nn.AdditiveAttention(4, 3, 2)(x(1, 4), x(5, 2, 3)), ValueError, "1 queries, 2 memories"),
        (
            lambda: nn.AdditiveAttention(4, 3, 2)(x(1, 4), x(5, 1, 3), key_padding_mask=np.zeros(5, bool)),
            ValueError,
            r"key_padding_mask \(1, 5\), got \(5,\)",
        ),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call()

"""Encoder and decoder: what they attend to, what decoding finds, where their steps stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

VARIANTS = [
    {},
    {"cell": "lstm", "attention": "general", "num_layers": 2},
    {"cell": "rnn", "attention": "dot", "bidirectional": False},
    {"attention": None},
]


def network(target_size=6, **options):
    return nn.Seq2Seq(9, target_size, embedding_dim=4, hidden_size=5, **options).double().eval()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_padding_of_the_source_changes_nothing(options, rng):
    net, source, target = network(**options), rng.integers(0, 9, (6, 2)), rng.integers(0, 6, (4, 2))
    (together, looked), (alone, _) = net(source, target, [6, 4]), net(source[:4, 1:], target[:, 1:])
    np.testing.assert_allclose(together.numpy()[:, 1], alone.numpy()[:, 0])
    np.testing.assert_allclose(looked.numpy().sum(axis=-1), 1)
    assert options.get("attention", "") is None or (looked.numpy()[:, 1, 4:] == 0).all()


def test_the_loss_is_the_cross_entropy_of_the_tokens_that_are_there(rng):
    net, source = network(), rng.integers(0, 9, (5, 2))
    target = np.array([[3, 4], [5, 2], [2, 0]])
    logits = net(source, target)[0].numpy()
    logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    by_hand = -np.mean([logp[0, 0, 3], logp[1, 0, 5], logp[2, 0, 2], logp[0, 1, 4], logp[1, 1, 2]])
    assert net.loss(source, target).item() == pytest.approx(by_hand)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_greedy_decoding_says_what_forcing_its_own_words_would(options, rng):
    net, source = network(**options), rng.integers(0, 9, (5, 3))
    tokens, looked = net.greedy(source, [5, 2, 4], max_length=4)
    said = np.full((len(looked), 3), net.eos)
    for n, row in enumerate(tokens):
        said[: len(row), n] = row
    logits, weights = net(source, said, [5, 2, 4])
    for n, row in enumerate(tokens):
        assert logits.numpy()[: len(row) + 1, n].argmax(axis=-1).tolist()[: len(row)] == row
    np.testing.assert_allclose(looked[0], weights.numpy()[0])
    free, _ = net(source, said * 0 + 5, [5, 2, 4], teacher_forcing=0.0)
    until = 1 + min(map(len, tokens))
    np.testing.assert_allclose(free.numpy()[:until], logits.numpy()[:until])


def test_a_wide_beam_finds_the_best_of_all_targets(rng):
    net, source = network(target_size=4), rng.integers(0, 9, (3, 1))
    net.head.weight.data *= 4

    def log_p(tokens):
        target = np.array([*tokens, net.eos])[:3, None]
        logits = net(source, target)[0].numpy()[:, 0]
        logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return logp[range(len(target)), target[:, 0]].sum()

    words = [t for t in range(4) if t != net.eos]
    every = [tokens for n in range(4) for tokens in itertools.product(words, repeat=n)]
    expected = sorted(((log_p(tokens), tokens) for tokens in every), reverse=True)
    (beams,) = net.beam(source, beam_width=200, max_length=3)
    assert [tuple(tokens) for tokens, _ in beams] == [tokens for _, tokens in expected]
    np.testing.assert_allclose([p for _, p in beams], [p for p, _ in expected])


def test_a_beam_of_one_is_greedy_and_a_batch_is_each_alone(rng):
    net, source = network(), rng.integers(0, 9, (5, 4))
    greedy, _ = net.greedy(source, max_length=6)
    assert [beams[0][0] for beams in net.beam(source, beam_width=1, max_length=6)] == greedy
    together = net.beam(source, [5, 3, 4, 5], beam_width=3, max_length=6)
    alone = net.beam(source[:3, 1:2], beam_width=3, max_length=6)[0]
    assert [tokens for tokens, _ in together[1]] == [tokens for tokens, _ in alone]


def test_it_learns_to_turn_a_sequence_round_and_looks_from_its_end():
    rng = np.random.default_rng(0)

    def batch(n):
        source = rng.integers(3, 8, (4, n))
        return source, np.concatenate([source[::-1], np.full((1, n), 2)])

    tg.manual_seed(1)
    net = nn.Seq2Seq(8, 8, embedding_dim=12, hidden_size=24)
    optimizer = optim.Adam(net.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        net.loss(*batch(32)).backward()
        optimizer.step()
    source, target = batch(40)
    said, looked = net.eval().greedy(source)
    assert sum(a == b for a, b in zip(said, target[:-1].T.tolist(), strict=True)) >= 36
    assert (looked[:4].mean(axis=1).argmax(axis=1)[[0, 1]] >= [2, 1]).all()


def test_the_decoders_steps_stand_after_the_encoders_in_a_row_above(rng):
    net = network(num_layers=2)
    graph = tg.trace(net.loss(rng.integers(0, 9, (3, 1)), np.array([[3], [2]])))
    times = {
        module: {v.time for v in graph.nodes if v.module == module and v.time is not None}
        for module in ("encoder", "decoder")
    }
    assert times == {"encoder": {0, 1, 2}, "decoder": {3, 4}}
    cells = {v.id for v in graph.quotient("cell").nodes}
    assert {"decoder.l2.fwd.t3", "decoder.l2.fwd.t4", "encoder.l1.rev.t0", "head.t4"} <= cells


def test_it_is_rebuilt_from_its_file(tmp_path, rng):
    pytest.importorskip("safetensors")
    net = nn.Seq2Seq(9, 6, hidden_size=5, attention="dot", bidirectional=False)
    source = rng.integers(0, 9, (5, 2))
    tg.save_network(net, tmp_path / "net.safetensors")
    other = tg.load_network(tmp_path / "net.safetensors")
    assert other.greedy(source)[0] == net.eval().greedy(source)[0]


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: nn.Seq2Seq(9, 6, cell="mgu"), ValueError, r"among \['gru', 'lstm', 'rnn'\], got 'mgu'"),
        (lambda: nn.Seq2Seq(9, 6, attention="soft"), ValueError, "'dot' or None, got 'soft'"),
        (lambda: nn.Seq2Seq(9, 6, bos=2), ValueError, "three different tokens below 6, got bos=2, eos=2"),
        (lambda: nn.Seq2Seq(9, 6, eos=6), ValueError, "three different tokens below 6, .* eos=6"),
        (lambda: nn.Seq2Seq(9, 6, attention="dot"), ValueError, "one size for method 'dot', got 64 and 128"),
        (lambda: network()(np.ones((4, 2), int), np.ones((3, 1), int)), ValueError, r"target \(U, 2\), got"),
        (lambda: network()(np.full((4, 2), 9), np.ones((3, 2), int)), IndexError, "indices from 0 to 8"),
        (lambda: network().loss(np.ones((4, 1), int), np.array([[7], [2]])), IndexError, "from 0 to 5"),
        (lambda: network()(np.ones((4, 2), int), np.ones((3, 2), int), [5, 1]), ValueError, "1 and 4"),
        (lambda: network().beam(np.ones((4, 1), int), beam_width=0), ValueError, "beam_width ≥ 1, got 0"),
        (lambda: network().greedy(np.ones((4, 1), int), max_length=0), ValueError, "max_length ≥ 1, got 0"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind, match=said):
        call()

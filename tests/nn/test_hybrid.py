"""Recurrent networks behind convolutions, with Transformers, before CTC: each part sees what it should."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


def encoder(width, **options):
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 2, 8, dropout=0.0, **options), 1)


@pytest.fixture
def conv():
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d((1, 2))).double()


def test_the_frames_of_a_clip_are_convolved_each_by_itself(conv, rng):
    net = nn.ConvRecurrent(conv, nn.GRU(3 * 4 * 2, 5, dtype="float64"))
    clip = rng.standard_normal((6, 2, 2, 4, 4))
    frames = np.stack([conv(tg.tensor(frame)).numpy().reshape(2, -1) for frame in clip])
    output, h_n = net(tg.tensor(clip), lengths=[6, 4])
    expected, h = net.recurrent(tg.tensor(frames), lengths=[6, 4])
    np.testing.assert_allclose(output.numpy(), expected.numpy())
    np.testing.assert_allclose(h_n.numpy(), h.numpy())


@pytest.mark.parametrize(("time_axis", "steps", "width"), [(2, 4, 3 * 3), (3, 3, 3 * 4)])
def test_an_image_is_read_along_its_time_axis(conv, rng, time_axis, steps, width):
    net = nn.ConvRecurrent(conv, nn.RNN(width, 5, dtype="float64"), time_axis)
    image = rng.standard_normal((2, 2, 4, 6))
    features = np.moveaxis(conv(tg.tensor(image)).numpy(), time_axis, 0).reshape(steps, 2, width)
    np.testing.assert_allclose(
        net(tg.tensor(image))[0].numpy(), net.recurrent(tg.tensor(features))[0].numpy()
    )


def test_a_series_is_read_along_what_the_convolution_leaves_of_it():
    net = nn.ConvRecurrent(nn.Conv1d(2, 3, 3, stride=2), nn.LSTM(3, 4))
    output, (h_n, _) = net(tg.randn(5, 2, 11))
    assert output.shape == (5, 5, 4) and h_n.shape == (1, 5, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RecurrentTransformer(nn.LSTM(4, 2, bidirectional=True), encoder(4)),
        lambda: nn.TransformerRecurrent(
            encoder(4, norm_first=True), nn.GRU(4, 3, bidirectional=True), nn.PositionalEncoding(4, 0.0)
        ),
    ],
)
def test_a_short_sequence_in_a_batch_is_as_if_alone(make, rng):
    net = make()
    x = rng.standard_normal((6, 2, 4)).astype("f")
    x[4:, 1] = 1e3
    together, alone = net(tg.tensor(x), lengths=[6, 4]), net(tg.tensor(x[:4, 1:]))
    together, alone = (y[0] if isinstance(y, tuple) else y for y in (together, alone))
    np.testing.assert_allclose(together.numpy()[:4, 1], alone.numpy()[:, 0], rtol=1e-5, atol=1e-6)


def test_a_causal_encoder_over_a_forward_layer_knows_nothing_of_later_steps(rng):
    net = nn.RecurrentTransformer(nn.GRU(3, 4), encoder(4))
    x = rng.standard_normal((5, 1, 3)).astype("f")
    changed = x.copy()
    changed[3:] += 1
    a, b = (net(tg.tensor(v), is_causal=True).numpy() for v in (x, changed))
    np.testing.assert_array_equal(a[:3], b[:3])


def test_a_recogniser_learns_to_read_what_nobody_aligned():
    """Two bumps at unknown places, by their signs: the labelling is all that is told."""
    rng = np.random.default_rng(3)

    def batch(n):
        x, labels = np.zeros((10, n, 1), "f"), rng.integers(1, 3, (n, 2))
        for k in range(n):
            first, second = rng.integers(0, 4), rng.integers(5, 9)
            x[first : first + 2, k], x[second : second + 2, k] = 2 * labels[k] - 3
        return tg.tensor(x), labels

    tg.manual_seed(0)
    net = nn.CTCRecognizer(1, num_classes=3, hidden_size=8, cell="gru")
    optimizer = optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        x, labels = batch(16)
        optimizer.zero_grad()
        net.loss(x, labels).backward()
        optimizer.step()
    x, labels = batch(50)
    read = net.eval().greedy(x)
    assert sum(a == b for a, b in zip(read, labels.tolist(), strict=True)) >= 48
    assert [beams[0][0] for beams in net.beam(x, beam_width=4)] == read


def test_a_recogniser_reads_each_sequence_to_its_own_end(rng):
    net = nn.CTCRecognizer(2, num_classes=4, hidden_size=3, num_layers=2)
    net.head.weight.data[3], net.head.bias.data[:] = 0.0, [0.0, 0.0, 0.0, 1e-3]  # 3 is said in the padding
    x = rng.standard_normal((7, 2, 2)).astype("f")
    together = net.beam(tg.tensor(x), [7, 4])
    (alone,) = net.beam(tg.tensor(x[:4, 1:]))
    assert [labels for labels, _ in together[1]] == [labels for labels, _ in alone]
    np.testing.assert_allclose([p for _, p in together[1]], [p for _, p in alone], rtol=1e-5)
    assert net.greedy(tg.tensor(x), [7, 4])[1] == net.greedy(tg.tensor(x[:4, 1:]))[0]


def test_a_recogniser_is_rebuilt_from_its_file(tmp_path):
    pytest.importorskip("safetensors")
    net, x = nn.CTCRecognizer(2, 4, hidden_size=3, cell="rnn"), tg.randn(5, 1, 2)
    tg.save_network(net, tmp_path / "net.safetensors")
    assert (tg.load_network(tmp_path / "net.safetensors")(x) == net(x)).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.ConvRecurrent(nn.Tanh(), nn.GRU(3, 4))(tg.zeros(2, 4, 9)), "3 features .* got 4 from"),
        (lambda: nn.ConvRecurrent(nn.Tanh(), nn.GRU(3, 4, batch_first=True)), "one with batch_first=True"),
        (lambda: nn.RecurrentTransformer(nn.GRU(3, 4), encoder(6)), "the encoder's width 6, got 4"),
        (lambda: nn.TransformerRecurrent(encoder(6), nn.GRU(4, 4)), "recurrent layer's width 4, got 6"),
        (lambda: nn.CTCRecognizer(3, 4, cell="mgu"), r"cell among \['gru', 'lstm', 'rnn'\], got 'mgu'"),
        (lambda: nn.CTCRecognizer(3, 4).loss(tg.zeros(5, 1, 3), [[4]]), "from 0 to 3 .* blank 0, got 4"),
        (lambda: nn.CTCRecognizer(3, 4).loss(tg.zeros(3, 1, 3), [[1, 1, 2]]), "got 3 steps .* needs 4"),
        (lambda: nn.CTCRecognizer(3, 4)(tg.zeros(5, 1, 2)), r"input \(T, N, 3\)"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("attention", ["additive", "general", None])
def test_ready_networks_are_made_with_the_dtype_and_on_the_device_that_are_asked_for(cell, attention):
    like = {"cell": cell, "hidden_size": 4, "device": "cpu", "dtype": "float64"}
    for net in (
        nn.Seq2Seq(5, 5, attention=attention, **like), nn.CTCRecognizer(3, 5, **like),
        nn.SequenceClassifier("ab", ["x", "y"], **like),
    ):  # fmt: skip
        assert {(p.device, str(p.dtype)) for p in net.parameters()} == {("cpu", "float64")}

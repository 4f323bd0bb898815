"""Devices, dtypes, random streams, and the clock of in-place writes."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import namespaces


def test_an_array_knows_its_library(xp, device):
    a = xp.zeros(3)
    assert namespaces.namespace(a) is xp
    assert namespaces.device_of(a).startswith(device)
    with pytest.raises(TypeError, match="list"):
        namespaces.namespace([1.0])


def test_python_data_takes_the_default_dtype_and_arrays_keep_theirs():
    assert tg.tensor(1.0).dtype == tg.tensor([[0.5]]).dtype == np.float32
    assert tg.tensor(1).dtype == np.int64 and tg.tensor(True).dtype == bool
    assert tg.tensor(np.float64(1)).dtype == tg.tensor(np.zeros(2)).dtype == np.float64
    tg.set_default_dtype("float64")
    assert tg.tensor(1.0).dtype == tg.zeros(2).dtype == np.float64


def test_tensor_copies_and_from_numpy_does_not():
    a = np.zeros(3, "f")
    assert not np.shares_memory(tg.tensor(a).data, a)
    assert not np.shares_memory(tg.tensor(tg.from_numpy(a)).data, a)
    assert tg.from_numpy(a).data is a


def test_the_seed_makes_everything_repeat():
    draw = lambda: [t.tolist() for t in (tg.rand(3), tg.randn(2), tg.randint(0, 9, 4))]
    tg.manual_seed(5)
    first = draw()
    second = draw()
    tg.manual_seed(5)
    assert draw() == first != second


def test_a_stream_is_replayed_and_then_goes_on():
    tg.manual_seed(1)
    before = namespaces.random_state()
    a, b = tg.rand(3), tg.rand(3)
    with namespaces.random_replayed(before):
        assert tg.rand(3).tolist() == a.tolist()
    c = tg.rand(3)
    with namespaces.random_replayed(before):
        assert [tg.rand(3).tolist() for _ in range(3)] == [a.tolist(), b.tolist(), c.tolist()]


def test_a_stream_that_does_not_show_its_state_is_replayed_from_a_seed(monkeypatch):
    class Opaque:
        def __init__(self, seed):
            self.inner = np.random.default_rng(seed)

    tg.manual_seed(0)
    monkeypatch.setitem(namespaces._streams, "other", Opaque(3))
    monkeypatch.setattr(
        namespaces, "_stream", lambda name, seed: (Opaque if name == "other" else np.random.default_rng)(seed)
    )
    state = namespaces.random_state()
    first = namespaces._streams["other"].inner.random()
    with namespaces.random_replayed(state):
        assert namespaces._streams["other"].inner.random() == first


def test_the_default_device_is_per_thread_and_undone(monkeypatch):
    seen = []
    with tg.device("cpu"):
        thread = threading.Thread(target=lambda: seen.append(tg.get_default_device()))
        thread.start()
        thread.join()
    assert seen == ["cpu"] and tg.get_default_device() == "cpu"


def test_where_there_is_no_cuda_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(namespaces.sys.modules, "cupy", None)
    with pytest.raises(tg.DeviceError, match=r"tinygrad-rnn\[cuda12\]"):
        tg.zeros(1, device="cuda")
    assert not tg.cuda_available()


def test_a_cuda_without_a_driver_or_device_is_told_apart(monkeypatch):
    def broken():
        raise RuntimeError("no driver")

    for count, said in ((broken, "no driver"), (lambda: 0, "reports none")):
        runtime = SimpleNamespace(getDeviceCount=count)
        monkeypatch.setitem(
            namespaces.sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
        )
        with pytest.raises(tg.DeviceError, match=said):
            tg.zeros(1, device="cuda")
    assert np.ndarray in namespaces.SPACES and len(namespaces.SPACES) == 1


def test_a_write_is_known_for_every_view_of_the_memory():
    a = np.zeros((4, 4))
    rows, other = a[1:][::2].T, np.zeros(4)
    time = next(namespaces.clock)
    assert not namespaces.written_after(a, time)
    namespaces.note_write(rows)
    assert namespaces.written_after(a, time) and namespaces.written_after(a[3], time)
    assert not namespaces.written_after(other, time)
    assert not namespaces.written_after(a, next(namespaces.clock))
    assert not namespaces.written_after("no array", time)

"""Devices, dtypes, random streams, and the clock of in-place writes."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import strict
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
    draw = lambda: namespaces.random_stream("other").inner.random()
    state = namespaces.random_state()
    made = namespaces._streams["other"]
    assert namespaces.random_state() == state and namespaces._streams["other"] is made, "nobody has drawn"
    first, second = draw(), draw()
    for _ in range(2):
        with namespaces.random_replayed(state):
            assert namespaces.random_state()["other"] == state["other"]
            assert [draw(), draw()] == [first, second]
    after = namespaces.random_state()
    assert after["other"] != state["other"]
    third = draw()
    namespaces.set_random_state(after)
    assert draw() == third


def test_the_default_device_is_per_thread_and_undone(monkeypatch):
    seen = []
    with tg.device("cpu"):
        thread = threading.Thread(target=lambda: seen.append(tg.get_default_device()))
        thread.start()
        thread.join()
    assert seen == ["cpu"] and tg.get_default_device() == "cpu"


def test_where_there_is_no_cuda_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(tg.DeviceError, match=r"tinygrad-rnn\[cuda12\]"):
        tg.zeros(1, device="cuda")
    assert not tg.cuda_available()


def failing(said):
    def fail():
        raise RuntimeError(said)

    return fail


@pytest.mark.parametrize(
    ("driver", "count", "said"),
    [
        (0, lambda: 0, "needs an NVIDIA driver, and there is none"),
        (11080, failing("cudaErrorInsufficientDriver: too old"),
         r"made for CUDA 12\.9, the driver reaches 11\.8; update the driver, or pip .*rnn\[cuda11\]"),
        (12090, failing("cudaErrorUnknown: it broke"), "a working CUDA driver; CuPy reports: .*it broke"),
        (12090, lambda: 0, "the driver reports none"),
    ],
)  # fmt: skip
def test_a_cuda_without_a_driver_or_device_is_told_apart(driver, count, said, monkeypatch):
    with strict.installed() as cupy:
        monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: driver)
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", count)
        with pytest.raises(tg.DeviceError, match=said):
            tg.zeros(1, device="cuda")
    assert list(namespaces.SPACES) == [np.ndarray]


def test_a_cupy_that_is_not_whole_says_so_in_its_own_words(tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc is missing\\nmore')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(tg.DeviceError, match=r"installed but not whole: libnvrtc is missing$"):
        tg.zeros(1, device="cuda")


def test_a_device_that_does_not_exist_and_two_that_do_are_named():
    with strict.installed():
        with pytest.raises(tg.DeviceError, match=r"'cuda:2' does not exist; the driver reports 2 device"):
            tg.zeros(1, device="cuda:2")
        with pytest.raises(tg.DeviceError, match=r"add: expected .* on one device, got cuda:0 and cuda:1"):
            tg.zeros(1, device="cuda:0") + tg.zeros(1, device="cuda:1")
        with pytest.raises(tg.DeviceError, match="got cuda:0 and cpu"):
            tg.zeros(1, device="cuda") + tg.zeros(1)


def test_a_gpu_out_of_memory_says_how_much_was_free_and_what_to_try(monkeypatch):
    def full(*_, **__):
        raise strict.OutOfMemoryError("Out of memory allocating 8,000,000,000 bytes (allocated so far: 0).")

    said = r"allocating 8,000,000,000 bytes .*; 4\.00 of 16\.00 GiB are free on cuda:0: try a smaller batch"
    with strict.installed() as cupy:
        x = tg.ones(2, 2, device="cuda", requires_grad=True)
        layer = tg.nn.LSTM(2, 3, device="cuda")
        optimizer = tg.optim.Adam(layer.parameters())
        layer(tg.ones(4, 1, 2, device="cuda"))[0].sum().backward()
        product = (x @ x).sum()
        for name, call in (
            ("zeros", lambda: tg.zeros(5, device="cuda")), ("stack", lambda: tg.ops.stack([x])),
            ("matmul", lambda: x @ x), ("matmul", product.backward),
            ("empty", lambda: layer(tg.ones(4, 1, 2, device="cuda"))), ("zeros_like", optimizer.step),
        ):  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(cupy, name, full)
                with pytest.raises(MemoryError, match=said) as caught:
                    call()
            assert str(caught.value).count("are free") == 1


def test_the_current_gpu_follows_the_arrays_there_and_back():
    with strict.installed() as cupy:
        net = tg.nn.LSTM(3, 4, device="cuda:1")
        x = tg.ones(5, 2, 3, device="cuda:0", requires_grad=True)
        y = net(x.to("cuda:1"))[0].to("cuda:0").sum()
        assert (net.weight_hh_l0.device, y.device) == ("cuda:1", "cuda:0")
        y.backward()
        assert (x.grad.device, net.weight_hh_l0.grad.device) == ("cuda:0", "cuda:1")
        tg.optim.Adam(net.parameters()).step()
        assert cupy.cuda.runtime.getDevice() == 1


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

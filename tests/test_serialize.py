"""Files hold what was saved, whole or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("safetensors")

import tinygrad_rnn as tg
from tinygrad_rnn import nn, serialize


@pytest.mark.usefixtures("device")
def test_what_is_saved_comes_back_with_its_metadata(tmp_path):
    state = {
        "a": tg.randn(3, 2), "turned": tg.tensor(np.arange(6.0).reshape(2, 3).T), "scalar": tg.tensor(2.0),
        "int": np.arange(3), "empty": tg.zeros(0, 3), "flag": tg.tensor([True, False]),
    }  # fmt: skip
    tg.save(state, tmp_path / "x.safetensors", {"note": "ein Gruß"})
    back = tg.load(tmp_path / "x.safetensors")
    assert back.metadata == {"note": "ein Gruß"} and back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back[name].numpy(), np.asarray(value))
        assert back[name].dtype == value.dtype and back[name].shape == value.shape


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    tg.save({"a": tg.ones(2)}, path)
    with pytest.raises(TypeError, match="expected Tensors or arrays to save, got str for 'b'"):
        tg.save({"b": "text"}, path)
    with pytest.raises(TypeError, match="expected strings as metadata, got int"):
        tg.save({"a": tg.zeros(2)}, path, {"n": 3})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        tg.save({"a": tg.zeros(2)}, path)
    assert os.listdir(tmp_path) == ["x.safetensors"]
    assert tg.load(path)["a"].tolist() == [1, 1]


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "other").touch()
    tg.save({"a": tg.ones(2)}, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_is_no_safetensors_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a safetensors file, found none"):
        tg.load(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("hello, this is no such file at all")
    with pytest.raises(ValueError, match=r"expected a safetensors file at .*text"):
        tg.load(tmp_path / "text")
    tg.save({"a": tg.ones(2)}, tmp_path / "plain")
    with pytest.raises(
        ValueError, match=r"expected a file written by tg.save_network .* without a description"
    ):
        tg.load_network(tmp_path / "plain")


def test_a_network_is_rebuilt_from_its_file(tmp_path):
    net = nn.SequenceClassifier("abcß", ["x", "y"], cell="lstm", hidden_size=3, dropout=0.5).eval()
    tg.save_network(net, tmp_path / "net", {"accuracy": "0.9"})
    again = tg.load_network(tmp_path / "net")
    assert again.config == net.config and not again.training
    np.testing.assert_array_equal(again(["ab", "ßca"]).numpy(), net(["ab", "ßca"]).numpy())
    assert tg.load(tmp_path / "net").metadata["accuracy"] == "0.9"
    with pytest.raises(TypeError, match="with a config to rebuild it from, got Linear"):
        tg.save_network(nn.Linear(1, 1), tmp_path / "other")


def test_without_safetensors_the_error_says_what_brings_it(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ModuleNotFoundError, match=r"tinygrad-rnn\[train\]"):
        serialize.save({"a": tg.ones(1)}, tmp_path / "x")

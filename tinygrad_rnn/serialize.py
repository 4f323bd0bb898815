"""Weights on disk, and weights that come from or go to PyTorch.

Files are safetensors: names, arrays and a few strings of metadata, never code. They are written next to
their place and then renamed, so a path holds the old file or the new one, never half of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_rnn import namespaces, nn
from tinygrad_rnn.nn import cells
from tinygrad_rnn.tensor import Tensor, raw


class State(dict[str, Tensor]):
    """What `load` returns: a dict of Tensors by name, and the file's `metadata`, a dict of strings."""

    metadata: dict[str, str]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "saving and loading needs safetensors, which is not installed: pip install 'tinygrad-rnn[train]'"
        ) from missing
    return safetensors


def save(
    state: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file, atomically.

    Args:
        state: name → Tensor or array; `module.state_dict()`.
        path: where to; its folder must exist.
        metadata: strings by name, kept in the file.

    Raises:
        TypeError: a value that is no array, a metadata value that is no string. Nothing is written then.

    >>> import tinygrad_rnn as tg
    >>> tg.save(tg.nn.Linear(2, 1).state_dict(), "linear.safetensors", {"made_by": "an example"})
    >>> sorted(tg.load("linear.safetensors")), tg.load("linear.safetensors").metadata
    (['bias', 'weight'], {'made_by': 'an example'})
    """
    arrays = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) and type(value) not in namespaces.SPACES:
            raise TypeError(f"expected Tensors or arrays to save, got {type(value).__name__} for {name!r}")
        arrays[name] = np.ascontiguousarray(namespaces.to_numpy(raw(value))).reshape(value.shape)
    notes = dict(metadata or {})
    for name, text in notes.items():
        if not isinstance(text, str):
            raise TypeError(f"expected strings as metadata, got {type(text).__name__} for {name!r}")
    written = _safetensors().numpy.save(arrays, notes or None)
    _replace(os.fspath(path), written)


def _replace(path: str, content: bytes) -> None:
    """Put content at path: under another name first, then renamed."""
    import tempfile

    folder, name = os.path.split(path)
    handle, other = tempfile.mkstemp(dir=folder or ".", prefix=f".{name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(other, 0o666 & ~_umask())
        os.replace(other, path)
    except BaseException:
        os.unlink(other)
        raise
    if hasattr(os, "O_DIRECTORY"):  # where a folder can be opened, its new entry can be made to last
        entry = os.open(folder or ".", os.O_DIRECTORY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path: str | os.PathLike[str], device: str | None = None) -> State:
    """Read a safetensors file: name → Tensor, on `device`, and `.metadata`.

    Raises FileNotFoundError, or ValueError for a file that is no safetensors.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"expected a safetensors file, found none at {os.fspath(path)!r}")
    library = _safetensors()
    state = State()
    try:
        with library.safe_open(os.fspath(path), framework="numpy") as file:
            state.metadata = dict(file.metadata() or {})
            for name in sorted(file.keys()):
                state[name] = Tensor(namespaces.asarray(file.get_tensor(name), device=device))
    except (library.SafetensorError, TypeError) as error:
        raise ValueError(
            f"expected a safetensors file at {os.fspath(path)!r}, got one that says: {error}"
        ) from error
    return state


def save_network(
    module: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a network that knows its `config`, as `nn.SequenceClassifier` does; `load_network` reads it."""
    import json

    config = getattr(module, "config", None)
    if config is None:
        raise TypeError(f"expected a module with a config to rebuild it from, got {type(module).__name__}")
    notes = {"network": type(module).__name__, "config": json.dumps(config, ensure_ascii=False)}
    save(module.state_dict(), path, {**(metadata or {}), **notes})


def load_network(path: str | os.PathLike[str]) -> Any:
    """The network that `save_network` wrote, with its weights, switched to evaluation.

    Raises FileNotFoundError, or ValueError for a file without such a network.
    """
    import json

    state = load(path)
    kind = getattr(nn, state.metadata.get("network", ""), None)
    if kind is None or "config" not in state.metadata:
        known = state.metadata.get("network", "weights without a description of their network")
        raise ValueError(f"expected a file written by tg.save_network at {os.fspath(path)!r}, got {known}")
    network = kind(**json.loads(state.metadata["config"]))
    network.load_state_dict(state)
    return network.eval()


# -- PyTorch -------------------------------------------------------------------------------------------

_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_CONV = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias",
    "padding_mode",
)  # fmt: skip
_BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_ATTENTION = (
    "embed_dim", "num_heads", "dropout", "bias=in_proj_bias", "add_bias_kv=bias_k", "add_zero_attn", "kdim",
    "vdim", "batch_first",
)  # fmt: skip
_TRANSFORMER = (
    "d_model=self_attn.embed_dim", "nhead=self_attn.num_heads", "dim_feedforward=linear1.out_features",
    "dropout=dropout.p", "activation", "layer_norm_eps=norm1.eps", "batch_first=self_attn.batch_first",
    "norm_first", "bias=linear1.bias",
)  # fmt: skip
_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
SETTINGS: dict[str, tuple[str, ...]] = {
    "RNN": (*_RECURRENT, "nonlinearity"), "LSTM": (*_RECURRENT, "proj_size"), "GRU": _RECURRENT,
    "RNNCell": ("input_size", "hidden_size", "bias", "nonlinearity"),
    "LSTMCell": ("input_size", "hidden_size", "bias"), "GRUCell": ("input_size", "hidden_size", "bias"),
    "Linear": ("in_features", "out_features", "bias"),
    "Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine", "bias"),
    "BatchNorm1d": _BATCH_NORM, "BatchNorm2d": _BATCH_NORM, "Conv1d": _CONV, "Conv2d": _CONV,
    "MaxPool1d": _MAX_POOL, "MaxPool2d": _MAX_POOL, "AvgPool1d": _AVG_POOL,
    "AvgPool2d": (*_AVG_POOL, "divisor_override"),
    "MultiheadAttention": _ATTENTION, "TransformerEncoderLayer": _TRANSFORMER,
    "TransformerDecoderLayer": _TRANSFORMER,
    "Dropout": ("p",), "Flatten": ("start_dim", "end_dim"), "Identity": (),
    "Tanh": (), "Sigmoid": (), "ReLU": (), "SiLU": (), "Softplus": (), "GELU": ("approximate",),
    "ELU": ("alpha",), "LeakyReLU": ("negative_slope",), "Softmax": ("dim",), "LogSoftmax": ("dim",),
    "SELU": (), "Mish": (), "Softsign": (), "LogSigmoid": (), "ReLU6": (), "Hardtanh": ("min_val", "max_val"),
    "GLU": ("dim",),
}  # fmt: skip
"""Module → the settings it is made from, by the same names here and in PyTorch; "name=where it is kept"."""


def from_torch(module: Any) -> nn.Module:
    """The same network here, with the weights of a PyTorch module: its layers, in Sequential and ModuleList.

    Raises TypeError for a kind of module that has no counterpart here.
    """
    made = _rebuilt(module, nn)
    tensors = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    for name, own in [*made.named_parameters(), *made.named_buffers()]:
        own.data = own.data.astype(tensors[name].dtype, copy=False)
        if own.requires_grad:
            own.requires_grad_(False).requires_grad_()
    made.load_state_dict(tensors)
    made.train(module.training)
    return made  # type: ignore[no-any-return]  # of `module`'s kind


def to_torch(module: nn.Module) -> Any:
    """The same network in PyTorch, with these weights; the way back of `from_torch`.

    Raises TypeError for a module that PyTorch does not have, or a variant (peepholes, …) of one.
    """
    import torch

    made = _rebuilt(module, torch.nn)
    tensors = {
        n: torch.from_numpy(namespaces.to_numpy(v.data).copy()) for n, v in module.state_dict().items()
    }
    for name, own in [*made.named_parameters(), *made.named_buffers()]:
        own.data = own.data.to(tensors[name].dtype)
    made.load_state_dict(tensors)
    return made.train(module.training)


def _rebuilt(module: Any, library: Any) -> Any:
    """A module of the same kind and settings in another library."""
    kind = type(module).__name__
    if kind in ("Sequential", "ModuleList"):
        children = [_rebuilt(child, library) for child in module.children()]
        return library.Sequential(*children) if kind == "Sequential" else library.ModuleList(children)
    if kind in ("TransformerEncoder", "TransformerDecoder"):
        layer = _rebuilt(module.layers[0], library)
        norm = None if module.norm is None else _rebuilt(module.norm, library)
        plainly = {} if library is nn or kind == "TransformerDecoder" else {"enable_nested_tensor": False}
        return getattr(library, kind)(layer, module.num_layers, norm, **plainly)
    if kind == "Transformer":
        parts = (_rebuilt(module.encoder, library), _rebuilt(module.decoder, library))
        return library.Transformer(
            module.d_model, module.nhead, custom_encoder=parts[0], custom_decoder=parts[1],
            batch_first=module.batch_first,
        )  # fmt: skip
    if kind not in SETTINGS or not hasattr(library, kind):
        raise TypeError(f"expected modules among {sorted(SETTINGS)}, Sequential, ModuleList, got {kind}")
    definition = getattr(module, "definition", None)
    plain = (cells.rnn_step, cells.relu_step, cells.lstm_step, cells.gru_step)
    if definition is not None and definition.step not in plain:
        raise TypeError(f"expected {kind} as PyTorch has it, got one with a variant of its step")
    settings = {}
    for entry in SETTINGS[kind]:
        name, _, where = entry.partition("=")
        value = attrgetter(where or name)(module)
        if name in ("bias", "add_bias_kv"):
            value = value is not None and value is not False
        elif name == "activation":
            value = getattr(value, "__name__", type(value).__name__).lower()
        settings[name] = value
    return getattr(library, kind)(**settings)

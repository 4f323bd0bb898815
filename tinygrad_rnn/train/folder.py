"""What a run leaves on disk: one checkpoint, one log, the weights it ended with.

A checkpoint is one safetensors file, written whole or not at all; it says how long the log was by then, so
that whatever a killed run wrote after it is taken back before the run goes on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinygrad_rnn import namespaces, serialize
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor

Record = dict[str, Any]


class Folder:
    """The folder of a run; made if it is not there.

    Raises FileExistsError where a run has left its checkpoint there and is not to be resumed, and
    NotADirectoryError where a file stands in its place.
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool) -> None:
        self.path = Path(path)
        self.checkpoint, self.log = self.path / "checkpoint.safetensors", self.path / "log.jsonl"
        self.weights = self.path / "weights.safetensors"
        if self.checkpoint.exists() and not resume:
            raise FileExistsError(
                f"expected a folder without a run, found one in {self.path}: "
                "pass resume=True to go on with it, or another directory"
            )
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"expected a folder for the run, found a file at {self.path}")
        self.path.mkdir(parents=True, exist_ok=True)
        for half_written in self.path.glob(".*.safetensors.*"):
            half_written.unlink()
        self._logged = 0
        if not self.checkpoint.exists():
            self.log.write_bytes(b"")

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint; where that fails, the one before is still there, and OSError says so."""
        tensors: dict[str, Any] = {}
        plain = _taken_apart({**state, "logged": self._logged}, "", tensors)
        self._written(lambda: serialize.save(tensors, self.checkpoint, {"run": _json(plain)}))

    def load(self) -> tuple[dict[str, Any], list[Record]] | None:
        """The state and the log of the checkpoint; the log loses what came after. None without a checkpoint.

        Raises ValueError for a file that is cut short, or comes from somewhere else.
        """
        if not self.checkpoint.exists():
            return None
        tensors = serialize.load(self.checkpoint)
        if "run" not in tensors.metadata:
            raise ValueError(f"expected the checkpoint of a run at {self.checkpoint}, got other tensors")
        state = _put_together(json.loads(tensors.metadata["run"]), tensors)
        self._logged = state["logged"]
        self.log.touch()
        if self.log.stat().st_size > self._logged:
            os.truncate(self.log, self._logged)
        return state, [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def append(self, record: Record) -> None:
        """Add a line to the log."""
        line = _json(_finite(record)) + "\n"

        def write() -> None:
            with self.log.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())

        self._written(write)
        self._logged += len(line.encode())

    def save_weights(self, model: Module) -> None:
        """Write the weights by themselves, as `tg.load_network` reads them where the model has a config."""
        write = serialize.save_network if hasattr(model, "config") else _save_state
        self._written(lambda: write(model, self.weights))

    def _written(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            kept = f"the checkpoint in {self.path} is whole: make room and go on with resume=True"
            there = kept if self.checkpoint.exists() else "nothing was saved yet"
            raise OSError(
                error.errno, f"expected to write into {self.path}, got: {error.strerror or error}; {there}"
            ) from error


def _save_state(model: Module, path: Path) -> None:
    serialize.save(model.state_dict(), path)


def _taken_apart(value: Any, path: str, tensors: dict[str, Any]) -> Any:
    """The value as JSON has it, its tensors put aside under their path."""
    if isinstance(value, Tensor) or type(value) in namespaces.SPACES:
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        inner = (
            (str(key), _taken_apart(v, f"{path}{'.' if path else ''}{key}", tensors))
            for key, v in value.items()
        )
        return {"dict": dict(inner)}
    if isinstance(value, tuple | list):
        items = [_taken_apart(v, f"{path}.{n}", tensors) for n, v in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    return value


def _put_together(plain: Any, tensors: Mapping[str, Any]) -> Any:
    """What `_taken_apart` took apart; the keys of dicts are strings now."""
    if isinstance(plain, list):
        return [_put_together(v, tensors) for v in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, inside),) = plain.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "dict":
        return {key: _put_together(v, tensors) for key, v in inside.items()}
    return tuple(_put_together(v, tensors) for v in inside)


def _json(value: Any) -> str:
    """JSON text; NumPy's numbers and arrays as plain ones."""
    return json.dumps(value, ensure_ascii=False, default=lambda array: array.tolist())


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

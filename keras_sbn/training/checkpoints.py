"""Checkpoints of a run: after every epoch, whole or not at all, the last two and the best one kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn.callbacks.record_weights import WeightSnapshot
from keras_sbn.files import save_model, write_atomically

#: The last one, and the one before: the last good one where the last is damaged.
_KEPT = 2


@dataclass
class RunState:
    """How far a run has come.

    Attributes:
        epoch: Number of epochs that lie behind.
        seconds: Time that they took.
        history: From name to the values of the epochs, as in Keras's history; NaN where an epoch has
            none.
        snapshots: Histograms of the weights.
    """

    epoch: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)
    snapshots: list[WeightSnapshot] = field(default_factory=list)

    def add(self, logs: dict[str, Any]) -> None:
        """Notes the logs of an epoch; every name has a value for every epoch."""
        for name in {**self.history, **logs}:
            values = self.history.setdefault(name, [float("nan")] * self.epoch)
            values.append(float(logs.get(name, float("nan"))))
        self.epoch += 1

    def is_best(self, metric: str = "val_hard_accuracy") -> bool:
        """Whether no epoch before was as good as the last; among equals the first counts."""
        return self.epoch > 0 and self.best_epoch(metric) == self.epoch

    def best_epoch(self, metric: str = "val_hard_accuracy") -> int | None:
        """The number of the best epoch, from 1 on; `None` where none was measured."""
        values = self.history.get(metric, [])
        measured = [(value, -index) for index, value in enumerate(values, 1) if np.isfinite(value)]
        return -max(measured)[1] if measured else None

    def to_dict(self) -> dict[str, Any]:
        """The state for JSON."""
        snapshots = [
            {**asdict(one), "counts": {name: counts.tolist() for name, counts in one.counts.items()}}
            for one in self.snapshots
        ]
        return {**asdict(self), "snapshots": snapshots}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> RunState:
        """The state from JSON."""
        snapshots = [
            WeightSnapshot(
                one["epoch"],
                one["sharpness"],
                {name: np.asarray(counts) for name, counts in one["counts"].items()},
            )
            for one in found["snapshots"]
        ]
        return cls(found["epoch"], found["seconds"], found["history"], snapshots)


class Checkpoints:
    """The checkpoints in a folder: a model with its optimizer and a `RunState` for each epoch.

    The state is written after its model, and has the checksums of both: an epoch counts once both are
    there, and are what was written. `best.keras` is the epoch of the highest hard validation accuracy.

    Args:
        folder: Where they are; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def best(self) -> Path:
        """The file of the best epoch."""
        return self.folder / "best.keras"

    def save(self, model: Any, state: RunState) -> None:
        """Writes a checkpoint, and removes those before the last two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = save_model(model, self.path(state.epoch))
        content = target.read_bytes()
        if state.is_best():
            write_atomically(self.best, content)
        found = state.to_dict()
        record = {"model_sha256": _sha256(content), "state_sha256": _sha256_of(found), "state": found}
        write_atomically(self._state(state.epoch), json.dumps(record).encode())
        for epoch in [epoch for epoch in self._epochs() if epoch != state.epoch][: 1 - _KEPT]:
            self._state(epoch).unlink()
            self.path(epoch).unlink(missing_ok=True)

    def last(self) -> Path | None:
        """The model of the last epoch that is there; `None` without one."""
        epochs = self._epochs()
        return self.path(epochs[-1]) if epochs else None

    def load(self, print_fn: Callable[[str], None] | None = None) -> tuple[Any, RunState] | None:
        """Returns the last model and its state, or `None` where there is no checkpoint.

        Where the last one is damaged, it is the one before.

        Args:
            print_fn: Receives a line for a checkpoint that is damaged.

        Raises:
            ValueError: If there are checkpoints, and all are damaged. The message names the files.
        """
        problems = []
        for epoch in reversed(self._epochs()):
            try:
                found = self._read(epoch)
            except ValueError as error:
                problems.append(str(error))
                continue
            if print_fn is not None and problems:
                print_fn(f"{'; '.join(problems)}; going on after epoch {epoch}")
            return found
        if problems:
            raise ValueError(
                "; ".join(problems)
                + ". No checkpoint is whole: bring the files back, or remove "
                + f"{self.folder} to begin anew."
            )
        return None

    def _read(self, epoch: int) -> tuple[Any, RunState]:
        path, record = self._state(epoch), self._record(epoch)
        state = record.get("state", record)  # version 0.1 had no checksums
        if "state_sha256" in record and _sha256_of(state) != record["state_sha256"]:
            raise ValueError(f"Expected {path} as it was written. Received other contents")
        model = self.path(epoch)
        if not model.exists():
            raise ValueError(f"Expected the model of {path}. Received no {model}")
        if record.get("model_sha256", None) not in (None, _sha256(model.read_bytes())):
            raise ValueError(
                f"Expected {model} as it was written. Received {model.stat().st_size:,} bytes with "
                "another checksum: it is damaged"
            )
        try:
            return keras.models.load_model(model), RunState.from_dict(state)
        except Exception as error:
            raise ValueError(
                f"Expected a checkpoint. Received {model}, which does not load: {error}"
            ) from error

    def _record(self, epoch: int) -> dict[str, Any]:
        path = self._state(epoch)
        try:
            record = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"Expected JSON in {path}. It is damaged: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"Expected the state of a run in {path}. Received: {type(record).__name__}")
        return record

    def _epochs(self) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob("epoch-*.json"))

    def path(self, epoch: int) -> Path:
        """The file of the model after so many epochs."""
        return self.folder / f"epoch-{epoch:05}.keras"

    def _state(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05}.json"


def check_same_network(model: Any, expected: Any, path: Path) -> None:
    """Raises a ValueError that names the file unless both models have the same weights' shapes."""
    found = [(weight.path, tuple(weight.shape)) for weight in model.weights]
    wanted = [(weight.path, tuple(weight.shape)) for weight in expected.weights]
    for (name, shape), (_, other) in zip(found, wanted, strict=False):
        if shape != other:
            raise ValueError(
                "Expected a checkpoint of the network that the settings describe. Received: "
                f"{path}, whose weight {name!r} has the shape {shape} and not {other}: it belongs to "
                "another run"
            )
    if len(found) != len(wanted):
        raise ValueError(
            "Expected a checkpoint of the network that the settings describe, with "
            f"{len(wanted)} weights. Received: {path} with {len(found)}: it belongs to another run"
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(state: dict[str, Any]) -> str:
    return _sha256(json.dumps(state, sort_keys=True).encode())

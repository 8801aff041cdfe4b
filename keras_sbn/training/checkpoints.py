"""Checkpoints of a run: after every epoch, whole or not at all, the last one kept."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn.callbacks.record_weights import WeightSnapshot
from keras_sbn.files import write_atomically


@dataclass
class RunState:
    """How far a run has come.

    Attributes:
        epoch: Number of epochs that lie behind.
        seconds: Time that they took.
        history: From name to the values of the epochs, as in Keras's history.
        snapshots: Histograms of the weights.
    """

    epoch: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)
    snapshots: list[WeightSnapshot] = field(default_factory=list)

    def add(self, logs: dict[str, Any]) -> None:
        """Notes the logs of an epoch."""
        self.epoch += 1
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    def is_best(self, metric: str = "val_hard_accuracy") -> bool:
        """Whether no epoch before was as good as the last; among equals the first counts."""
        values = self.history.get(metric, [])
        return bool(values) and all(value < values[-1] for value in values[:-1])

    def to_json(self) -> str:
        """The state as JSON text."""
        snapshots = [
            {**asdict(one), "counts": {name: counts.tolist() for name, counts in one.counts.items()}}
            for one in self.snapshots
        ]
        return json.dumps({**asdict(self), "snapshots": snapshots})

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """The state from JSON text."""
        found = json.loads(text)
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

    The state is written after its model, so an epoch counts once both are there.

    Args:
        folder: Where they are; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, model: Any, state: RunState) -> None:
        """Writes a checkpoint and removes the one before; the best so far stays, as `best.keras`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self._model(state.epoch)
        temporary = target.with_name(f".{target.stem}.tmp.keras")
        model.save(temporary)
        os.replace(temporary, target)
        if state.is_best():
            shutil.copyfile(target, temporary)
            os.replace(temporary, self.folder / "best.keras")
        write_atomically(self._state(state.epoch), state.to_json().encode())
        for old in (*self.folder.glob("epoch-*.json"), *self.folder.glob("epoch-*.keras")):
            if old.stem != target.stem:
                old.unlink()

    def load(self) -> tuple[Any, RunState] | None:
        """Returns the last model and its state, or `None` where there is no checkpoint."""
        epochs = sorted(int(path.stem.split("-")[1]) for path in self.folder.glob("epoch-*.json"))
        for epoch in reversed(epochs):
            if self._model(epoch).exists():
                state = RunState.from_json(self._state(epoch).read_text(encoding="utf-8"))
                return keras.models.load_model(self._model(epoch)), state
        return None

    def _model(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05}.keras"

    def _state(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05}.json"

"""Trainings in pieces: what is kept after every epoch, and how a run goes on from there.

A checkpoint holds all that the rest of a training depends on: the weights, the optimizer's variables, the
number of the epoch. Order and augmentation of the images, learning rate and sharpness follow from the
epoch alone. So a run that was interrupted ends with the weights of one that was not;
`tests/benchmarks/test_accuracy_pieces.py` compares them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

#: What a process returns that stopped at the end of its time, with its work kept (EX_TEMPFAIL).
OUT_OF_TIME = 75


class OutOfTimeError(Exception):
    """The time of this sitting is over; what was done is on the disk."""


class Deadline:
    """The end of a sitting.

    Args:
        minutes: How long from now; `None` is for ever.
    """

    def __init__(self, minutes: float | None = None) -> None:
        if minutes is not None and not minutes > 0:
            raise ValueError(f"Expected a positive number of minutes. Received: minutes={minutes}")
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def minutes_left(self) -> float | None:
        """What is left, not below 0; `None` is for ever."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0) / 60

    def check(self) -> None:
        """Raises `OutOfTimeError` where nothing is left."""
        if self.minutes_left == 0:
            raise OutOfTimeError


@dataclass
class State:
    """Where a training stands: epochs done, the loss of each, CPU seconds, and all variables."""

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    arrays: list[np.ndarray] = field(default_factory=list)


class Pieces:
    """The folder of one run, and the end of the sitting.

    Args:
        folder: Where the checkpoint is kept; `None` keeps nothing.
        deadline: When to stop, at the end of an epoch.
    """

    def __init__(self, folder: Path | None = None, deadline: Deadline | None = None) -> None:
        self.folder = folder
        self.deadline = deadline or Deadline()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def sharpening(self) -> Path | None:
        """The `state_path` of `keras_sbn.callbacks.Sharpen`: the mean of the kernels lies beside it."""
        return None if self.folder is None else self.folder / "sharpening.json"

    @property
    def _path(self) -> Path | None:
        return None if self.folder is None else self.folder / "checkpoint.npz"

    def load(self) -> State:
        """The state after the last finished epoch, or that of the start."""
        if self._path is None or not self._path.exists():
            return State()
        with np.load(self._path) as stored:
            known = json.loads(str(stored["state"]))
            arrays = [stored[f"array_{index}"] for index in range(len(stored.files) - 1)]
        return State(**known, arrays=arrays)

    def save(self, state: State) -> None:
        """Writes the state, whole or not at all."""
        if self._path is None:
            return
        unfinished = self._path.with_suffix(".unfinished.npz")
        known = {key: value for key, value in vars(state).items() if key != "arrays"}
        arrays = {f"array_{index}": array for index, array in enumerate(state.arrays)}
        np.savez(unfinished, state=json.dumps(known), **arrays)
        os.replace(unfinished, self._path)

    def remove(self) -> None:
        """Removes the folder of a run that is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder)


def variables(model: Any) -> list[Any]:
    """The weights of a compiled model and its optimizer's variables; of Keras 3 and of Keras 2."""
    model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]


def restore(model: Any, state: State) -> None:
    """Assigns what a state holds."""
    if state.arrays:
        for variable, array in zip(variables(model), state.arrays, strict=True):
            variable.assign(array)


def fit_in_pieces(keras: Any, pieces: Pieces, state: State) -> Any:
    """A callback that notes losses and time in `state`, saves after every epoch, and stops in time.

    Put it behind the others, which have then done what belongs to the epoch.

    Args:
        keras: Keras 3, or Keras 2 for Larq.
        pieces: Where to save, and until when.
        state: The state that the training goes on from; changed in place.
    """

    class FitInPieces(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.before, self.started = state.cpu_seconds, time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            # Under JAX the trainer holds the variables; reading `self.model` brings them back.
            model = self.model
            state.epoch = epoch + 1
            state.losses.append(float(logs["loss"]))
            state.cpu_seconds = self.before + time.process_time() - self.started
            if pieces.folder is not None:
                state.arrays = [np.asarray(variable.numpy()) for variable in variables(model)]
            pieces.save(state)
            if state.epoch < self.params["epochs"]:
                pieces.deadline.check()

    return FitInPieces()

"""What a run does after every epoch: notes it, says it, and keeps it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.callbacks.record_weights import take_snapshot
from keras_sbn.files import write_atomically
from keras_sbn.training.checkpoints import Checkpoints, RunState

#: About how many moments of the weights a run keeps for its report.
_MOMENTS = 20


class KeepRun(keras.callbacks.Callback):
    """Notes the logs in the state of the run, prints a line, and writes checkpoint and `history.csv`.

    Put it last, so that the logs are complete.

    Args:
        state: The state of the run, which it brings up to date.
        checkpoints: Where to keep it.
        folder: Folder of `history.csv`.
        epochs: Number of epochs of the run.
        print_fn: Receives the lines.

    Raises:
        ValueError: At the end of an epoch whose loss or weights are not finite. Its checkpoint is not
            written: the one before is the last good one.
    """

    def __init__(
        self,
        state: RunState,
        checkpoints: Checkpoints,
        folder: Path,
        epochs: int,
        print_fn: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.state = state
        self._checkpoints = checkpoints
        self._folder = folder
        self._epochs = epochs
        self._print = print_fn
        self._every = max(epochs // _MOMENTS, 1)
        self._begun = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.state.snapshots:
            self.state.snapshots.append(take_snapshot(self.model, self.state.epoch))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._check_finite(logs or {})
        seconds = time.perf_counter() - self._begun
        self.state.seconds += seconds
        self.state.add({**(logs or {}), "seconds": seconds})
        done = self.state.epoch
        if done % self._every == 0 or done == self._epochs:
            self.state.snapshots.append(take_snapshot(self.model, done))
        self._checkpoints.save(self.model, self.state)
        write_history(self._folder, self.state)
        left = self.state.seconds / done * (self._epochs - done)
        self._print(
            f"epoch {done:>3}/{self._epochs}  loss {_of(logs, 'loss', 1):7.4f}  "
            f"accuracy: training {_of(logs, 'accuracy', 100):6.2f} %  "
            f"soft {_of(logs, 'val_accuracy', 100):6.2f} %  "
            f"hard {_of(logs, 'val_hard_accuracy', 100):6.2f} %  "
            f"sharpness {_of(logs, 'sharpness', 1):<8.3g} {seconds:.0f} s, {duration(left)} left"
        )

    def _check_finite(self, logs: dict[str, Any]) -> None:
        broken = [name for name in ("loss",) if not np.isfinite(logs.get(name, 0.0))]
        for weight in self.model.weights:
            # The sharpness, a scalar, is infinite in a hard network.
            if len(weight.shape) and not np.isfinite(ops.convert_to_numpy(weight)).all():
                broken.append(weight.path)
                break
        if not broken:
            return
        last = self._checkpoints.last()
        kept = "No epoch was finished before" if last is None else f"The last good epoch is {last}"
        if self._checkpoints.best.exists():
            kept += f", the best one {self._checkpoints.best}"
        raise ValueError(
            f"Expected a finite loss and finite weights. Received NaN or infinity in {broken[0]!r} in "
            f"epoch {self.state.epoch + 1} of {self._epochs}: the training diverged. {kept}. Start a new "
            "run with a lower learning_rate."
        )


def write_history(folder: Path, state: RunState) -> None:
    """Writes `history.csv`: a row for each epoch of the state."""
    write_atomically(folder / "history.csv", _csv(state.history).encode())


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _of(logs: dict[str, Any] | None, name: str, factor: float) -> float:
    return factor * float((logs or {})[name])


def _csv(history: dict[str, list[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *history])
    for index, row in enumerate(zip(*history.values(), strict=True), 1):
        writer.writerow([index, *row])
    return text.getvalue()

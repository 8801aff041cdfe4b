"""How far an epoch has come, in one line of a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras

#: Seconds between two looks at the clock that write, so that a terminal costs nothing.
_PAUSE = 0.5


class ShowProgress(keras.callbacks.Callback):
    """Writes the batch and the time left of an epoch to standard error, and clears the line at its end.

    Args:
        epochs: Number of epochs of the run.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._epoch = self._width = 0
        self._begun = self._shown = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1
        self._begun = self._shown = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now, done = time.perf_counter(), batch + 1
        steps = (self.params or {}).get("steps")
        if now - self._shown < _PAUSE or not steps:
            return
        self._shown = now
        left = (now - self._begun) / done * (steps - done)
        self._write(f"epoch {self._epoch:>3}/{self._epochs}  batch {done}/{steps}, {left:.0f} s left")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._width:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

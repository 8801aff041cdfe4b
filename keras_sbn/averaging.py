"""The mean of the latent kernels over a stretch of training."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from keras_sbn.files import write_atomically

#: A mean of fewer moments is not worth the change.
_FEWEST = 10


class KernelMean:
    """The mean of kernels over moments of training, kept on the host.

    A weight that oscillates round 0 is +1 at one step and -1 at the next; the sign of its mean is what it
    was for most of the time. Averages of weights find flatter minima as well (Izmailov et al., arXiv
    1803.05407).
    """

    def __init__(self) -> None:
        self.count = 0
        self._means: list[np.ndarray] = []

    def add(self, kernels: list[Any]) -> None:
        """Takes the present values of these weights into the mean."""
        values = [ops.convert_to_numpy(kernel) for kernel in kernels]
        self.count += 1
        if self.count == 1:
            self._means = [np.array(value, dtype=np.float32) for value in values]
            return
        for mean, value in zip(self._means, values, strict=True):
            mean += (value.astype(np.float32, copy=False) - mean) / np.float32(self.count)

    def assign(self, kernels: list[Any]) -> None:
        """Assigns the means to the weights, unless the moments are too few, and starts anew."""
        if self.count >= _FEWEST:
            for kernel, mean in zip(kernels, self._means, strict=True):
                kernel.assign(mean)
        self.count, self._means = 0, []

    def save(self, path: Path, epoch: int) -> None:
        """Writes the mean after so many epochs; the file of the epoch before is kept beside it.

        A process may be killed after this file and before the checkpoint of the same epoch; it then goes
        on from the checkpoint of the epoch before.
        """
        if path.exists():
            os.replace(path, _before(path))
        elif self._epoch_of(_before(path)) < epoch - 1:
            _before(path).unlink(missing_ok=True)
        if not self.count:
            return
        content = io.BytesIO()
        arrays = {f"kernel_{index}": mean for index, mean in enumerate(self._means)}
        np.savez(content, epoch=epoch, count=self.count, **arrays)
        write_atomically(path, content.getvalue())

    def load(self, path: Path, epoch: int) -> None:
        """Goes on from what was saved after so many epochs, if it is there."""
        for candidate in (path, _before(path)):
            if self._epoch_of(candidate) == epoch:
                with np.load(candidate) as stored:
                    self.count = int(stored["count"])
                    self._means = [stored[f"kernel_{index}"] for index in range(len(stored.files) - 2)]
                return

    @staticmethod
    def remove(path: Path) -> None:
        """Removes what was saved."""
        for one in (path, _before(path)):
            one.unlink(missing_ok=True)

    @staticmethod
    def _epoch_of(path: Path) -> int:
        """The epoch of a file, or -1 without one."""
        if not path.exists():
            return -1
        with np.load(path) as stored:
            return int(stored["epoch"])


def _before(path: Path) -> Path:
    return path.with_name(f"{path.stem}.before{path.suffix}")

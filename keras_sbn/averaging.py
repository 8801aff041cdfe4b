"""The mean of the latent kernels over a stretch of training."""

from __future__ import annotations

import io
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
        """Gives the weights their means, and forgets; leaves them alone where the moments are too few."""
        if self.count >= _FEWEST:
            for kernel, mean in zip(kernels, self._means, strict=True):
                kernel.assign(mean)
        self.count, self._means = 0, []

    def save(self, path: Path, epoch: int) -> None:
        """Writes what there is after so many epochs; without anything, the file goes."""
        if not self.count:
            path.unlink(missing_ok=True)
            return
        content = io.BytesIO()
        arrays = {f"kernel_{index}": mean for index, mean in enumerate(self._means)}
        np.savez(content, epoch=epoch, count=self.count, **arrays)
        write_atomically(path, content.getvalue())

    def load(self, path: Path, epoch: int) -> None:
        """Goes on from what was saved after so many epochs, if it is there."""
        if not path.exists():
            return
        with np.load(path) as stored:
            if int(stored["epoch"]) == epoch:
                self.count = int(stored["count"])
                self._means = [stored[f"kernel_{index}"] for index in range(len(stored.files) - 2)]

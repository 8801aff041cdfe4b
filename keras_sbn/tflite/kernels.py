"""Running one-bit files in stock LiteRT, with the operators of the package keras-sbn-kernels.

The package stands beside this one, in `kernels/`: `pip install ./kernels`. It needs no Keras, so a device
installs it alone; here it is found and given the interface of the other runtimes.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from keras_sbn.extras import why_no_kernels
from keras_sbn.tflite.interpreter import Interpreter


def has_kernels() -> bool:
    """Whether the kernels and a LiteRT that takes them are installed; imports neither."""
    return why_no_kernels() is None


def _package() -> Any:
    reason = why_no_kernels()
    if reason is not None:
        raise ImportError(
            f"Running the file with one-bit kernels in LiteRT needs what is not here: {reason}"
        )
    return importlib.import_module("keras_sbn_kernels")


def instruction_sets() -> dict[str, bool]:
    """Returns the instruction sets of the kernels, fastest first, and whether this processor has them.

    Raises:
        ImportError: If the kernels are not installed.
    """
    return dict(_package().instruction_sets())


class KernelsInterpreter(Interpreter):
    """Runs a file, with or without LCE's operators, in the installed LiteRT.

    Stock operators run in XNNPACK. The stock operators that follow a binary convolution (batch
    normalization, the addition of a residual, ReLU) and the packing of signs are computed with it, every
    rounding as before.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Number of threads, 1 to 256.
        instructions: Name of an instruction set, one of `instruction_sets()`; by default the environment
            variable `SBN_KERNELS_INSTRUCTIONS`, or the fastest one.

    Raises:
        ImportError: If the kernels or LiteRT are not installed.
        RuntimeError: If the file is damaged or has an operator that cannot be computed exactly, LiteRT is
            too old, or the processor does not have the instructions.
    """

    def __init__(self, content: bytes, num_threads: int = 1, instructions: str | None = None) -> None:
        self._model = model = _package().Model(content, num_threads, instructions)
        super().__init__(content, f"LiteRT, one-bit kernels, {model.instructions}")
        #: Name of the instruction set in use.
        self.instructions: str = model.instructions

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._model.run(inputs))

    def profile(self) -> list[tuple[str, float]]:
        """What each one-bit node computes, and the seconds that it ran since the last call."""
        return list(self._model.profile())

"""Running a file in the Larq Compute Engine's own interpreter."""

from __future__ import annotations

import functools
import platform
from typing import Any

import numpy as np

from keras_sbn.conversion.schema import file_of_package, load_module


@functools.cache
def _extension() -> Any:
    """LCE's interpreter extension, loaded without its package, which would import TensorFlow.

    Raises:
        ImportError: If larq-compute-engine is not installed, or NumPy is too new for it.
    """
    path = file_of_package("larq_compute_engine", "tflite/python/interpreter_wrapper_lite.so")
    if path is None:
        raise ImportError(
            "Running the file needs larq-compute-engine, which is not installed: "
            "pip install 'keras-sbn[lce]'"
        )
    if int(np.__version__.split(".")[0]) >= 2:
        raise ImportError(
            "Expected NumPy < 2: under NumPy 2 the interpreter of larq-compute-engine reads every input "
            f"as empty. Received: NumPy {np.__version__}. pip install 'numpy<2'"
        )
    return load_module("interpreter_wrapper_lite", path)


class LceInterpreter:
    """Runs the bytes of a model on the CPU, one sample at a time.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Positive number of threads.

    Raises:
        ImportError: If larq-compute-engine cannot be used.
        RuntimeError: If the engine refuses the model.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        # The default kernel has its assembly on 64-bit ARM alone; elsewhere the indirect one is faster.
        indirect = platform.machine().lower() not in ("aarch64", "arm64")
        self._engine = _extension().LiteInterpreter(content, num_threads, False, indirect, False)

    def predict(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs for a batch.

        Args:
            inputs: One array an input of the model, `(samples, ...)`.

        Returns:
            One array an output of the model, `(samples, ...)`.

        Raises:
            ValueError: If the arrays do not fit the inputs of the model.
        """
        shapes = [tuple(shape) for shape in self._engine.input_shapes]
        types = [np.dtype(dtype) for dtype in self._engine.input_types]
        given = [tuple(array.shape) for array in inputs]
        fits = len(given) == len(shapes) and all(
            found[1:] == wanted[1:] for found, wanted in zip(given, shapes, strict=True)
        )
        if not fits or len({shape[0] for shape in given}) != 1:
            wanted = [("samples", *shape[1:]) for shape in shapes]
            raise ValueError(f"Expected inputs of shapes {wanted}. Received: shapes {given}")
        ready = [np.ascontiguousarray(array, dtype) for array, dtype in zip(inputs, types, strict=True)]
        samples = [
            self._engine.predict([array[i : i + 1] for array in ready]) for i in range(given[0][0])
        ]
        if not samples:
            return [
                np.zeros((0, *shape[1:]), np.dtype(dtype))
                for shape, dtype in zip(
                    self._engine.output_shapes, self._engine.output_types, strict=True
                )
            ]
        return [np.concatenate(parts) for parts in zip(*samples, strict=True)]

"""Running ONNX models in onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_sbn.extras import installed, remedy
from keras_sbn.onnx_model.translate import translate
from keras_sbn.tflite.interpreter import Interpreter


def why_no_onnxruntime() -> str | None:
    """Why ONNX models cannot be run here, and the remedy; `None` where they can."""
    missing = [name for name in ("onnx", "onnxruntime") if not installed(name)]
    return f"{' and '.join(missing)} not installed; {remedy('onnx')}" if missing else None


class OnnxInterpreter(Interpreter):
    """Runs the ONNX model of a file in onnxruntime.

    Args:
        content: The bytes of the file that the model is written from.
        num_threads: Positive number of threads.

    Raises:
        ImportError: If onnx or onnxruntime is not installed.
        RuntimeError: If onnxruntime refuses the model.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        reason = why_no_onnxruntime()
        if reason is not None:
            raise ImportError(f"Running ONNX models needs onnx and onnxruntime: {reason}")
        import onnxruntime

        super().__init__(content, f"onnxruntime {onnxruntime.__version__}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                translate(content), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # Each kind of error is a class of its own, all of Exception.
            raise RuntimeError(f"Expected a model that onnxruntime runs. Received: {error}") from error
        # What the file has in integers is a number here.
        numbers = (replace(y, dtype="float32", scales=(), zero_points=()) for y in self.file.outputs)
        self.file = replace(self.file, outputs=tuple(numbers))

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        names = [source.name for source in self._session.get_inputs()]
        found: list[np.ndarray] = self._session.run(None, dict(zip(names, inputs, strict=True)))
        return found

"""The result of a conversion to ONNX."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.files import write_atomically
from keras_sbn.onnx_model.translate import translate
from keras_sbn.tflite.metadata import read_metadata


@dataclass(frozen=True, eq=False, repr=False)
class ConvertedOnnx(ConvertedModel):
    """A network as an ONNX model of standard operators, or of QONNX's.

    Values of ±1 are float32, whose sums are exact below 2^24; a layer whose sums could go beyond is
    refused. Inputs and outputs are the Keras model's, channels last, for a batch of one. `predict`, and
    with it `keras_sbn.verify`, runs the model of standard operators in onnxruntime.

    Attributes:
        content: The network as the bytes of a `.tflite` file, from whose operators the model is written.
            No runtime is meant to open it.

    Example:

        converted = keras_sbn.convert(model, target="onnx")
        converted.save("model.onnx")
    """

    def __post_init__(self) -> None:
        # Written once here, so that an operator that ONNX does not have is an error of the conversion.
        size = len(self.model())
        object.__setattr__(self, "report", replace(self.report, file_bytes=size))

    def model(self, qonnx: bool = False) -> bytes:
        """The bytes of the ONNX model.

        Args:
            qonnx: Whether signs and binary kernels are `BipolarQuant` and thresholds `MultiThreshold`, of
                the domain `qonnx.custom_op.general`, as FINN reads them, in place of standard operators.
        """
        return translate(self.content, read_metadata(self.content).labels or (), qonnx)

    def save(self, path: str | os.PathLike[str], qonnx: bool = False) -> Path:
        """Writes the model, whole or not at all, and returns its path.

        Args:
            path: The file, with the suffix `.onnx`.
            qonnx: As for `model`.

        Raises:
            OSError: If it cannot be written; a file that was there before is unharmed.
            ValueError: If the path has another suffix.
        """
        if Path(path).suffix != ".onnx":
            raise ValueError(
                f"Expected the path of an ONNX model, as model.onnx. Received: {os.fspath(path)!r}"
            )
        return write_atomically(path, self.model(qonnx))

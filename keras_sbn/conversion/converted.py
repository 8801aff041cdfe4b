"""The result of a conversion."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_sbn.conversion.inspection import inspect
from keras_sbn.conversion.report import ConversionReport
from keras_sbn.files import write_atomically
from keras_sbn.tflite.batches import arrays_of
from keras_sbn.tflite.interpreter import Interpreter, open_interpreter
from keras_sbn.tflite.reader import read_file


@dataclass(frozen=True, eq=False)
class ConvertedModel:
    """A converted model: the bytes of the file, and what became of every layer.

    Attributes:
        content: The bytes of the `.tflite` file.
        target: `"lce"` or `"tflite"`.
        report: A `ConversionReport`, one row a layer.
        input_names: Names of the model's inputs, in order.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> converted = keras_sbn.convert(model)
    >>> converted.predict(np.ones((2, 32), "float32")).shape
    (2, 4)
    """

    content: bytes
    target: str
    report: ConversionReport
    input_names: tuple[str, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConvertedModel:
        """Reads a `.tflite` file, ours or another's; the report then has a row an operator.

        Args:
            path: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is not a TFLite model, or damaged.
        """
        content = Path(path).read_bytes()
        info = read_file(content)
        target = "lce" if any(op.name.startswith("Lce") for op in info.operators) else "tflite"
        return cls(content, target, inspect(content), tuple(tensor.name for tensor in info.inputs))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file, whole or not at all, and returns its path.

        Raises:
            OSError: If it cannot be written; a file that was there before is unharmed.
        """
        return write_atomically(path, self.content)

    @functools.cached_property
    def _interpreter(self) -> Interpreter:
        return open_interpreter(self.content, self.target)

    def predict(self, x: Any, dequantize: bool = True) -> Any:
        """Runs the file, in the Larq Compute Engine's interpreter or in stock TFLite's.

        On x86 LCE runs with its indirect binary kernel, and XNNPACK beside it, and on 64-bit ARM with
        its defaults: the faster there. Stock files run in XNNPACK.

        Args:
            x: Array `(samples, ...)`; a list of them, or a dictionary by input name, for a model of
                several inputs. Values as Keras takes them: a file with int8 or uint8 inputs quantizes
                them, unless the array has that very type; then it is taken as stored.
            dequantize: Whether int8 or uint8 outputs are returned as the float32 values they stand for,
                or, if false, as stored.

        Returns:
            Array `(samples, ...)`, or a list of them for a model of several outputs.

        Raises:
            ValueError: If `x` does not fit the model.
            ImportError: If larq-compute-engine is not installed, or, for stock files, none of
                ai-edge-litert, tflite-runtime and TensorFlow.
        """
        outputs = self._interpreter.predict(arrays_of(x, self.input_names), dequantize)
        return outputs[0] if len(outputs) == 1 else outputs

"""Running a file in TensorFlow Lite Micro, as microcontrollers do, on this machine.

The wheel `tflite-micro` brings its interpreter with the reference kernels. Its memory is one block, the
arena, whose size the application chooses; what a network takes of it is measured here.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from keras_sbn.extras import installed, remedy
from keras_sbn.tflite.interpreter import Interpreter, said_by
from keras_sbn.tflite.memory import bytes_of
from keras_sbn.tflite.reader import FileInfo
from keras_sbn.tflite.schema import file_of_package, load_module

#: What the arena holds beside tensors, an operator, and in all: more than TensorFlow Lite Micro asks for.
_AN_OPERATOR, _IN_ALL = 4096, 2**18
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


def has_micro() -> bool:
    """Whether TensorFlow Lite Micro is installed; imports nothing."""
    return installed("tflite_micro")


@functools.cache
def _extension() -> Any:
    """The interpreter's extension, without its package, which would import tools for compression.

    Raises:
        ImportError: If tflite-micro is not installed.
    """
    path = file_of_package("tflite_micro", "python/tflite_micro/_runtime.so")
    if path is None:
        raise ImportError(
            "Running the file in TensorFlow Lite Micro needs tflite-micro, which is not installed: "
            + remedy("micro", "a file of target='micro' runs in LiteRT as well")
        )
    return load_module("_runtime", path)


class MicroInterpreter(Interpreter):
    """Runs a file in TensorFlow Lite Micro.

    Args:
        content: The bytes of a `.tflite` model.

    Raises:
        ImportError: If tflite-micro is not installed.
        RuntimeError: If TensorFlow Lite Micro refuses the model; the message has the reason.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content, "TensorFlow Lite Micro")
        runtime, size = _extension(), _enough(self.file)
        recording = runtime.PythonInterpreterConfig.kAllocationRecording
        self._engine = self.opened(lambda: runtime.InterpreterWrapper(content, [], size, 0, recording, 0))

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in enumerate(inputs):
            self._engine.SetInputTensor(np.ascontiguousarray(array), index)
        self._engine.Invoke()
        outputs = enumerate(self.file.outputs)
        return [np.array(self._engine.GetOutputTensor(i)).reshape(out.shape) for i, out in outputs]

    def arena_bytes(self) -> int:
        """Bytes of the arena that the network takes: tensors, and what the interpreter notes of them."""
        found = _TOTAL.search(said_by(self._engine.PrintAllocations))
        assert found is not None
        return int(found.group(1))


def _enough(info: FileInfo) -> int:
    """An arena that is large enough: every tensor in a place of its own, and kernels unpacked."""
    tensors = sum(bytes_of(tensor) for tensor in info.tensors)
    return 2 * tensors + 2 * info.size + _AN_OPERATOR * len(info.operators) + _IN_ALL


def arena_bytes(content: bytes) -> int | None:
    """Bytes of the arena that a file takes; `None` where TensorFlow Lite Micro is not installed."""
    return MicroInterpreter(content).arena_bytes() if has_micro() else None

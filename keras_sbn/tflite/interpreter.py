"""Running a file: in the Larq Compute Engine's own interpreter, or in stock TFLite's.

Which kernels are fastest depends on the machine. LCE's default binary kernel has its assembly on 64-bit
ARM alone; elsewhere its indirect kernel is several times faster, so it is chosen there. Stock operators
run fastest in XNNPACK everywhere.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import platform
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sbn.extras import remedy
from keras_sbn.tflite.schema import file_of_package, load_module


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
            + remedy("lce", "a file of target='tflite' runs here")
        )
    if int(np.__version__.split(".")[0]) >= 2:
        raise ImportError(
            "Expected NumPy < 2: under NumPy 2 the interpreter of larq-compute-engine reads every input "
            f"as empty. Received: NumPy {np.__version__}. pip install 'numpy<2'"
        )
    return load_module("interpreter_wrapper_lite", path)


def has_fast_default_kernel() -> bool:
    """Whether LCE's default binary kernel is the fast one on this machine."""
    return platform.machine().lower() in ("aarch64", "arm64")


class Interpreter(ABC):
    """Runs the bytes of a model on the CPU, one sample at a time."""

    #: Shapes and types of the model's inputs and outputs; a batch is one sample.
    input_shapes: list[tuple[int, ...]]
    input_types: list[np.dtype]
    output_shapes: list[tuple[int, ...]]
    output_types: list[np.dtype]
    #: Scale and zero point of inputs and outputs, `None` where a value is stored as it is.
    input_scales: list[tuple[float, int] | None]
    output_scales: list[tuple[float, int] | None]

    @abstractmethod
    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs of one sample; shapes and types are those of the model."""

    def predict(self, inputs: list[np.ndarray], dequantize: bool = True) -> list[np.ndarray]:
        """Returns the outputs for a batch.

        Args:
            inputs: One array an input of the model, `(samples, ...)`: values, which are quantized where
                the model wants it, or, where the array has the 8-bit type of the input, values as stored.
            dequantize: Whether quantized outputs are returned as float32 values.

        Returns:
            One array an output of the model, `(samples, ...)`.

        Raises:
            ValueError: If the arrays do not fit the inputs of the model.
        """
        shapes = self.input_shapes
        given = [tuple(array.shape) for array in inputs]
        fits = len(given) == len(shapes) and all(
            found[1:] == wanted[1:] for found, wanted in zip(given, shapes, strict=True)
        )
        if not fits or len({shape[0] for shape in given}) != 1:
            wanted = [("samples", *shape[1:]) for shape in shapes]
            raise ValueError(f"Expected inputs of shapes {wanted}. Received: shapes {given}")
        described = zip(inputs, self.input_types, self.input_scales, strict=True)
        ready = [_stored(array, dtype, scale) for array, dtype, scale in described]
        samples = [self.run([array[i : i + 1] for array in ready]) for i in range(given[0][0])]
        if samples:
            outputs = [np.concatenate(parts) for parts in zip(*samples, strict=True)]
        else:
            kinds = zip(self.output_shapes, self.output_types, strict=True)
            outputs = [np.zeros((0, *shape[1:]), dtype) for shape, dtype in kinds]
        if not dequantize:
            return outputs
        return [_values(array, scale) for array, scale in zip(outputs, self.output_scales, strict=True)]


def _values(stored: np.ndarray, scale: tuple[float, int] | None) -> np.ndarray:
    """What a tensor of this scale and zero point stores."""
    if scale is None:
        return stored
    return (scale[0] * (stored.astype(np.float64) - scale[1])).astype(np.float32)


def _stored(array: np.ndarray, dtype: np.dtype, scale: tuple[float, int] | None) -> np.ndarray:
    """The array as an input stores it: quantized, but for one that has the input's 8-bit type."""
    if scale is None or array.dtype == dtype or scale == (1.0, 0):
        return _as_type(array, dtype)
    steps = np.asarray(array, np.float64) / scale[0] + scale[1]
    if scale[0] == 1.0:
        # Integers, such as the values of an image, stay what they are.
        return _as_type(steps, dtype)
    limits = np.iinfo(dtype)
    return np.ascontiguousarray(np.clip(np.round(steps), limits.min, limits.max), dtype)


def _as_type(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in the type the model takes; integers only where no value changes."""
    with np.errstate(invalid="ignore"):
        cast = np.ascontiguousarray(array, dtype)
    if dtype.kind in "iu" and array.dtype != dtype and not np.array_equal(cast, array):
        raise ValueError(
            f"Expected inputs of {dtype}, such as the 8-bit values of an image. Received: {array.dtype} "
            f"values that {dtype} does not have, in [{array.min():.6g}, {array.max():.6g}]"
        )
    return cast


def _pairs(scales: Sequence[float | None], zero_points: Sequence[int | None]) -> list[Any]:
    """Scale and zero point of each tensor; runtimes say 0 or `None` where there is none."""
    pairs = zip(scales, zero_points, strict=True)
    return [(float(scale), int(zero or 0)) if scale else None for scale, zero in pairs]


class LceInterpreter(Interpreter):
    """Runs a file, with or without LCE's operators, in LCE's interpreter.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Positive number of threads.
        indirect: Whether to use LCE's indirect binary kernel; `None` chooses the one that is faster on
            this machine.
        xnnpack: Whether stock operators run in XNNPACK.

    Raises:
        ImportError: If larq-compute-engine cannot be used.
        RuntimeError: If the engine refuses the model.
    """

    def __init__(
        self,
        content: bytes,
        num_threads: int = 1,
        indirect: bool | None = None,
        xnnpack: bool = False,
    ) -> None:
        indirect = not has_fast_default_kernel() if indirect is None else indirect
        self._engine = engine = _extension().LiteInterpreter(
            content, num_threads, False, indirect, xnnpack
        )
        self.input_shapes = [tuple(shape) for shape in engine.input_shapes]
        self.input_types = [np.dtype(dtype) for dtype in engine.input_types]
        self.output_shapes = [tuple(shape) for shape in engine.output_shapes]
        self.output_types = [np.dtype(dtype) for dtype in engine.output_types]
        self.input_scales = _pairs(engine.input_scales, engine.input_zero_points)
        self.output_scales = _pairs(engine.output_scales, engine.output_zero_points)

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._engine.predict(inputs))


class TfliteInterpreter(Interpreter):
    """Runs a file of stock operators in stock TFLite: of LiteRT, tflite-runtime or TensorFlow.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Positive number of threads.
        xnnpack: Whether XNNPACK runs what it can.

    Raises:
        ImportError: If none of them is installed.
        RuntimeError: If the runtime refuses the model.
        ValueError: If the model has operators the runtime does not know.
    """

    def __init__(self, content: bytes, num_threads: int = 1, xnnpack: bool = True) -> None:
        runtime = _tflite_runtime()
        resolvers = runtime.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with warnings.catch_warnings():
            # TensorFlow announces that its interpreter moves to LiteRT.
            warnings.simplefilter("ignore")
            self._engine = runtime.Interpreter(
                model_content=content,
                num_threads=num_threads,
                experimental_op_resolver_type=resolver,
            )
        self._engine.allocate_tensors()
        inputs, outputs = self._engine.get_input_details(), self._engine.get_output_details()
        self._inputs = [detail["index"] for detail in inputs]
        self._outputs = [detail["index"] for detail in outputs]
        self.input_shapes = [tuple(detail["shape"].tolist()) for detail in inputs]
        self.input_types = [np.dtype(detail["dtype"]) for detail in inputs]
        self.output_shapes = [tuple(detail["shape"].tolist()) for detail in outputs]
        self.output_types = [np.dtype(detail["dtype"]) for detail in outputs]
        self.input_scales = _pairs(*zip(*(detail["quantization"] for detail in inputs), strict=True))
        self.output_scales = _pairs(*zip(*(detail["quantization"] for detail in outputs), strict=True))

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(self._inputs, inputs, strict=True):
            self._engine.set_tensor(index, array)
        self._engine.invoke()
        return [self._engine.get_tensor(index) for index in self._outputs]


#: Packages that bring stock TFLite and its module, in the order they are tried: the small ones first.
TFLITE_RUNTIMES = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}


@functools.cache
def _tflite_runtime() -> Any:
    for package, module in TFLITE_RUNTIMES.items():
        if importlib.util.find_spec(package):
            return importlib.import_module(module)
    raise ImportError(
        "Running the file needs ai-edge-litert, tflite-runtime or tensorflow, and none is installed: "
        + remedy("convert")
    )


def open_interpreter(content: bytes, target: str, num_threads: int = 1) -> Interpreter:
    """Returns an interpreter for a file of the target, with the kernels that are fastest here.

    Args:
        content: The bytes of the file.
        target: `"lce"`, or `"tflite"` for a file of stock operators.
        num_threads: Positive number of threads.

    Raises:
        ImportError: If no runtime for the target is installed.
    """
    if target == "lce":
        # On x86 the stock operators between LCE's run faster in XNNPACK.
        return LceInterpreter(content, num_threads, xnnpack=not has_fast_default_kernel())
    return TfliteInterpreter(content, num_threads)

"""Running a file: with kernels of our own, in the Larq Compute Engine, or in stock TFLite.

Which kernels are fastest depends on the machine. LCE's default binary kernel has its assembly on 64-bit
ARM alone; elsewhere its indirect kernel is several times faster, so it is chosen there. Stock operators
run fastest in XNNPACK everywhere.

An interpreter serves one thread. A pool has as many as are in use at once.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import platform
import re
import sys
import tempfile
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_sbn.extras import installed, remedy, why_no_kernels, why_no_lce, why_not_run
from keras_sbn.tflite.options import KERNELS, RUNTIMES, Kernel, Runtime
from keras_sbn.tflite.reader import FileInfo, TensorInfo, read_file
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
            + remedy("lce", f"{remedy('kernels')}, runs the file here with runtime='kernels'")
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


def refuse_nan(inputs: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Raises a ValueError that names the input, if one holds NaN.

    Keras says that the sign of NaN is -1, as NaN >= 0 is false; the Larq Compute Engine reads its sign
    bit, and TFLite's comparisons and minima give +1. No file can equal the model there.
    """
    for name, array in zip(names, inputs, strict=False):
        if array.dtype.kind == "f" and (nan := np.isnan(array)).any():
            sample = int(np.argwhere(nan)[0][0]) if array.ndim else 0
            raise ValueError(
                f"Expected inputs without NaN, whose sign Keras and the runtimes take differently. "
                f"Received: NaN in input {name!r}, first in sample {sample}"
            )


class Interpreter(ABC):
    """Runs the bytes of a model on the CPU, one sample at a time, for one thread."""

    #: What runs it: "LCE, indirect kernel, XNNPACK", "LiteRT, XNNPACK".
    runtime: str

    def __init__(self, content: bytes, runtime: str) -> None:
        self._content, self.runtime = content, runtime

    def opened(self, open_one: Callable[[], Any]) -> Any:
        """Opens an engine; an error says why, and of which layer."""
        try:
            return open_one()
        except (RuntimeError, ValueError) as error:
            # These engines tell the reason on standard error alone.
            silent = self.runtime.startswith(("LCE", "TensorFlow Lite Micro"))
            reason = f"{said_by(open_one)}\n{error}" if silent else str(error)
            raise RuntimeError(explained(reason, self._content, self.runtime)) from error

    @functools.cached_property
    def file(self) -> FileInfo:
        """The file, with the inputs and outputs of the model; a batch is one sample."""
        return read_file(self._content)

    @abstractmethod
    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs of one sample; shapes and types are those of the model."""

    @functools.cached_property
    def _random_inputs(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        inputs = []
        for tensor in self.file.inputs:
            values = rng.integers(0, 128, tensor.shape)
            kind = np.dtype(tensor.dtype).kind
            inputs.append((values / 128 if kind == "f" else values).astype(tensor.dtype))
        return inputs

    def time(self) -> float:
        """Runs one random sample, the same every time, and returns the milliseconds it took."""
        inputs = self._random_inputs
        started = time.perf_counter()
        self.run(inputs)
        return 1e3 * (time.perf_counter() - started)

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
        wanted = [("samples", *tensor.shape[1:]) for tensor in self.file.inputs]
        given = [tuple(array.shape) for array in inputs]
        fits = [("samples", *shape[1:]) for shape in given] == wanted
        if not fits or len({shape[0] for shape in given}) != 1:
            raise ValueError(f"Expected inputs of shapes {wanted}. Received: shapes {given}")
        ready = [_stored(array, tensor) for array, tensor in zip(inputs, self.file.inputs, strict=True)]
        try:
            samples = [self.run([array[i : i + 1] for array in ready]) for i in range(given[0][0])]
        except RuntimeError as error:
            raise RuntimeError(explained(str(error), self._content, self.runtime)) from error
        if samples:
            outputs = [np.concatenate(parts) for parts in zip(*samples, strict=True)]
        else:
            outputs = [np.zeros((0, *tensor.shape[1:]), tensor.dtype) for tensor in self.file.outputs]
        if not dequantize:
            return outputs
        return [_values(array, tensor) for array, tensor in zip(outputs, self.file.outputs, strict=True)]


def _values(stored: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """What a tensor stores."""
    scale = tensor.quantization
    if scale is None:
        return stored
    return (scale[0] * (stored.astype(np.float64) - scale[1])).astype(np.float32)


def _stored(array: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """The array as an input stores it: quantized, but for one that has the input's 8-bit type."""
    dtype, scale = np.dtype(tensor.dtype), tensor.quantization
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


class LceInterpreter(Interpreter):
    """Runs a file, with or without LCE's operators, in LCE's interpreter.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Positive number of threads.
        kernel: `"default"`, `"indirect"` or `"reference"`, LCE's binary kernels; `None` chooses the one
            that is faster on this machine, of the first two.
        xnnpack: Whether stock operators run in XNNPACK; `None` leaves it off on 64-bit ARM.

    Raises:
        ImportError: If larq-compute-engine cannot be used.
        RuntimeError: If the engine refuses the model; the message names the layer.
    """

    def __init__(
        self,
        content: bytes,
        num_threads: int = 1,
        kernel: Kernel | None = None,
        xnnpack: bool | None = None,
    ) -> None:
        if kernel is None:
            kernel = "default" if has_fast_default_kernel() else "indirect"
        if xnnpack is None:
            # On x86 the stock operators between LCE's run faster in XNNPACK.
            xnnpack = not has_fast_default_kernel()
        runtime = f"LCE, {kernel} kernel" + (", XNNPACK" if xnnpack else "")
        super().__init__(content, runtime)
        self._engine = self.opened(
            lambda: _extension().LiteInterpreter(
                content, num_threads, kernel == "reference", kernel == "indirect", xnnpack
            )
        )

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._engine.predict(inputs))


class TfliteInterpreter(Interpreter):
    """Runs a file of stock operators in stock TFLite: of LiteRT, tflite-runtime or TensorFlow.

    Args:
        content: The bytes of a `.tflite` model.
        num_threads: Positive number of threads.
        xnnpack: Whether XNNPACK runs what it can, as it does by default.
        package: `"ai_edge_litert"`, `"tflite_runtime"` or `"tensorflow"`; `None` takes the first that
            is installed.

    Raises:
        ImportError: If none of them is installed.
        RuntimeError: If the runtime refuses the model; the message names the layer.
    """

    def __init__(
        self,
        content: bytes,
        num_threads: int = 1,
        xnnpack: bool | None = None,
        package: str | None = None,
    ) -> None:
        name, module = _tflite_runtime(package)
        xnnpack = xnnpack is not False
        super().__init__(content, name + (", XNNPACK" if xnnpack else ""))
        self._engine = self.opened(lambda: self._open(module, content, num_threads, xnnpack))
        self._read = [detail["index"] for detail in self._engine.get_input_details()]
        self._written = [detail["index"] for detail in self._engine.get_output_details()]

    @staticmethod
    def _open(runtime: Any, content: bytes, num_threads: int, xnnpack: bool) -> Any:
        resolvers = runtime.OpResolverType
        resolver = resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with warnings.catch_warnings():
            # TensorFlow announces that its interpreter moves to LiteRT.
            warnings.simplefilter("ignore")
            engine = runtime.Interpreter(
                model_content=content,
                num_threads=num_threads,
                experimental_op_resolver_type=resolver,
            )
        engine.allocate_tensors()
        return engine

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(self._read, inputs, strict=True):
            self._engine.set_tensor(index, array)
        self._engine.invoke()
        return [self._engine.get_tensor(index) for index in self._written]


#: Packages that bring stock TFLite, the module and what it is called, in the order they are tried: the
#: small ones first.
TFLITE_RUNTIMES = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", "LiteRT"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "TensorFlow Lite"),
}


@functools.cache
def _tflite_runtime(package: str | None = None) -> tuple[str, Any]:
    """What stock TFLite is called, and its module: of a package, or of the first that is there."""
    for found, (module, name) in TFLITE_RUNTIMES.items():
        if package in (None, found) and importlib.util.find_spec(found):
            return name, importlib.import_module(module)
    raise ImportError(
        "Running the file needs ai-edge-litert, tflite-runtime or tensorflow, and none is installed: "
        + remedy("convert")
    )


#: Module and class of what runs files that are made something else first, by their target.
_TRANSLATED = {
    "c": ("keras_sbn.c_code.interpreter", "CInterpreter"),
    "onnx": ("keras_sbn.onnx_model.interpreter", "OnnxInterpreter"),
}


def open_interpreter(
    content: bytes,
    target: str,
    num_threads: int = 1,
    *,
    runtime: Runtime | None = None,
    kernel: Kernel | None = None,
    xnnpack: bool | None = None,
) -> Interpreter:
    """Returns an interpreter for a file of the target, with the kernels that are fastest here.

    Of `"c"` and `"onnx"`, what is written from the file runs, and there is no choice of runtimes.

    Args:
        content: The bytes of the file.
        target: `"lce"`, `"c"`, `"onnx"`, or the name of a target whose files have stock operators.
        num_threads: Positive number of threads.
        runtime: `"kernels"` for keras-sbn-kernels in LiteRT, `"lce"` for the interpreter of the Larq
            Compute Engine, `"litert"` for stock TFLite, of LiteRT, tflite-runtime or TensorFlow, the
            first that is installed; the latter runs stock files alone. `None` takes the best that is
            installed: of a file with LCE's operators the kernels, then LCE, of a stock file stock TFLite,
            of a file of `"micro"` TensorFlow Lite Micro, where `xnnpack` is not given either.
        kernel: Which of LCE's binary kernels, `"default"`, `"indirect"` or `"reference"`; `None` takes
            the fastest here. One that is given asks for LCE. A stock file has none of them, and runs the
            same with each.
        xnnpack: Whether stock operators run in XNNPACK; `None` does where that is faster. The kernels
            run them there always, so false asks for another runtime.

    Raises:
        ValueError: If there is no such runtime or kernel, or the one does not have the other.
        ImportError: If the runtime, or any for the target, or a C compiler is not installed; the message
            names what to install.
        RuntimeError: If the runtime refuses the file; the message names the layer.
    """
    for name, value, known in (("kernel", kernel, KERNELS), ("runtime", runtime, RUNTIMES)):
        if value is not None and value not in known:
            raise ValueError(f"Expected `{name}` to be one of {list(known)}. Received: {name}={value!r}")
    if target in _TRANSLATED:
        if runtime is not None:
            raise ValueError(
                f"Expected no `runtime` with target={target!r}, which has its own. Received: "
                f"runtime={runtime!r}"
            )
        module, kind = _TRANSLATED[target]
        made: Interpreter = getattr(importlib.import_module(module), kind)(content, num_threads)
        return made
    if runtime is None and target == "micro" and xnnpack is None:
        from keras_sbn.tflite.micro import MicroInterpreter, has_micro

        if has_micro():
            return MicroInterpreter(content)
    if runtime is None:
        runtime = _best_runtime(target, kernel, xnnpack)
    _check_options(runtime, target, kernel, xnnpack)
    if runtime == "kernels":
        from keras_sbn.tflite.kernels import KernelsInterpreter

        return KernelsInterpreter(content, num_threads)
    if runtime == "lce":
        return LceInterpreter(content, num_threads, kernel, xnnpack)
    return TfliteInterpreter(content, num_threads, xnnpack)


def _best_runtime(target: str, kernel: Kernel | None, xnnpack: bool | None) -> Runtime:
    """The best runtime that is installed and has what is asked for."""
    if target != "lce":
        return "litert"
    if kernel is not None or xnnpack is False:
        return "lce"
    if why_no_kernels() is None:
        return "kernels"
    if why_no_lce() is None:
        return "lce"
    raise ImportError(
        "Running the file needs keras-sbn-kernels or larq-compute-engine, and neither runs here: "
        f"{why_not_run(target)}; a file of target='tflite' runs without them"
    )


def _check_options(runtime: Runtime, target: str, kernel: Kernel | None, xnnpack: bool | None) -> None:
    """Raises a ValueError where a runtime does not have what is asked for."""
    if runtime == "litert" and target == "lce":
        raise ValueError(
            "Expected runtime 'kernels' or 'lce' for a file with operators of the Larq Compute Engine, "
            "which stock TFLite does not have. Received: runtime='litert'; target='tflite' is for it"
        )
    if runtime == "kernels" and kernel is not None:
        raise ValueError(
            "Expected runtime 'lce' with `kernel`, which names one of its binary kernels. Received: "
            f"runtime='kernels', kernel={kernel!r}"
        )
    if runtime == "kernels" and xnnpack is False:
        raise ValueError(
            "Expected runtime 'lce' or 'litert' with xnnpack=False: stock operators beside the kernels "
            "run in XNNPACK. Received: runtime='kernels', xnnpack=False"
        )


def can_open(content: bytes, target: str) -> str | None:
    """Says why a runtime refuses a file; `None` where it opens it, or no runtime is at hand.

    The file is laid out in memory and not run. An LCE file has to open with the default binary kernel,
    which 64-bit ARM runs, and with the indirect one. TensorFlow is not imported for this, which would
    take seconds.

    Args:
        content: The bytes of the file.
        target: As for `open_interpreter`.
    """
    if target in _TRANSLATED:
        # What is made of the file is opened where it runs: a compiler takes seconds.
        return None
    kernels: tuple[Kernel | None, ...] = ("default", "indirect") if target == "lce" else (None,)
    micro = target == "micro" and installed("tflite_micro")
    if target != "lce" and not micro and not _has_light_runtime():
        return None
    for kernel in kernels:
        try:
            open_interpreter(content, target, kernel=kernel)
        except ImportError:
            return None
        except (RuntimeError, ValueError) as error:
            return str(error)
    return None


def _has_light_runtime() -> bool:
    """Whether stock TFLite is at hand: a small package, or TensorFlow where it is loaded already."""
    first = next((name for name in TFLITE_RUNTIMES if importlib.util.find_spec(name)), None)
    return first is not None and (first != "tensorflow" or first in sys.modules)


class InterpreterPool:
    """Interpreters of one file for any number of threads.

    Each call borrows one that is idle, or opens one more; there are never more than processor cores, and
    calls beyond that wait, the first that came the shortest. A process that was forked starts with none:
    it shares no lock with its parent.

    Args:
        content: The bytes of the file.
        target: As for `open_interpreter`.
        options: As for `open_interpreter`: `runtime`, `kernel` and `xnnpack`.
    """

    def __init__(self, content: bytes, target: str, **options: Any) -> None:
        self._open = functools.partial(open_interpreter, content, target, **options)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._turns = _Turns(max(os.cpu_count() or 1, 1))
        self._idle: list[Interpreter] = []

    @contextmanager
    def borrow(self) -> Iterator[Interpreter]:
        """An interpreter that no other thread uses meanwhile."""
        if self._process != os.getpid():
            self._reset()
        turns, idle = self._turns, self._idle
        with turns.turn():
            # Taking from a list and adding to it are atomic.
            try:
                interpreter = idle.pop()
            except IndexError:
                interpreter = self._open()
            try:
                yield interpreter
            finally:
                idle.append(interpreter)


class _Turns:
    """A semaphore that lets in whoever has waited longest.

    `threading.Semaphore` lets a thread that comes again go before those that wait: of eight threads on
    two interpreters some waited for seconds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        #: Who is in or waits, in the order they came: the first are in.
        self._line: list[object] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn, which lasts to the end of the `with` statement."""
        me = object()
        self._line.append(me)
        try:
            with self._changed:
                self._changed.wait_for(lambda: me in self._line[: self._most])
            yield
        finally:
            with self._changed:
                self._line.remove(me)
                self._changed.notify_all()


def said_by(act: Callable[[], Any]) -> str:
    """What an engine writes to standard error while it is opened, which may fail, or asked something."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            act()
        except (RuntimeError, ValueError):
            pass
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        kept.seek(0)
        return kept.read().decode("utf-8", "replace")


_OPERATOR = re.compile(r"(?:Node number |node #)(\d+)")
_TENSOR = re.compile(r"Tensor (\d+) is invalidly specified")


def explained(reason: str, content: bytes, runtime: str) -> str:
    """What a runtime says of a file, with the layer that it gives by number.

    Args:
        reason: What it says.
        content: The bytes of the file.
        runtime: Its name.
    """
    lines = [line.removeprefix("ERROR: ").strip() for line in reason.splitlines()]
    # Where LCE's binding noticed it tells nothing.
    said = "; ".join(line for line in lines if line and "the following was false" not in line)
    layer = _layer_in(reason, content)
    where = f" Layer {layer}:" if layer else ""
    return f"Expected a file that {runtime} runs. Received:{where} {said or reason.strip()}"


def _layer_in(reason: str, content: bytes) -> str | None:
    try:
        info = read_file(content)
    except ValueError:
        return None
    for index in map(int, _OPERATOR.findall(reason)):
        # Numbers past the last operator are those of delegates.
        op = info.operators[index] if index < len(info.operators) else None
        if op is not None and op.output is not None:
            return f"{op.output.name!r} ({op.name}, operator {index})"
    for index in map(int, _TENSOR.findall(reason)):
        if index < len(info.tensors):
            return f"{info.tensors[index].name!r} (tensor {index})"
    return None

"""The result of a conversion."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from keras_sbn.conversion.inspection import inspect
from keras_sbn.conversion.report import ConversionReport
from keras_sbn.conversion.targets import SUFFIXES
from keras_sbn.files import write_atomically
from keras_sbn.tflite.interpreter import InterpreterPool, refuse_nan
from keras_sbn.tflite.options import Kernel, Runtime
from keras_sbn.tflite.reader import content_of, name_of, named, path_of, read_file
from keras_sbn.tflite.worker import Worker


@dataclass(frozen=True, eq=False, repr=False)
class ConvertedModel:
    """A converted model: the bytes of the file, and what became of every layer.

    It can be pickled and copied, and several threads may call `predict` at once.

    Attributes:
        content: The bytes of the `.tflite` file.
        target: The target of the conversion; of a file that was loaded, `"lce"` where it has operators of
            the Larq Compute Engine, and `"tflite"` elsewhere.
        report: A `ConversionReport`, one row a layer.
        input_names: Names of the model's inputs, in order.
        output_names: Names of its outputs, in order.
        path: Where it was loaded from, or empty.

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
    output_names: tuple[str, ...]
    path: str = field(default="", kw_only=True)

    @classmethod
    def load(cls, file: Any) -> ConvertedModel:
        """Reads a `.tflite` file, ours or another's; the report then has a row an operator.

        Inputs and outputs are named as in the model, where the file has a signature, as every file of
        `keras_sbn.convert` has; else after its tensors.

        Args:
            file: Path or bytes of the file; a `ConvertedModel` is returned as it is.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is not a TFLite model, or damaged; the message names the file.
        """
        if isinstance(file, ConvertedModel):
            return file
        content = content_of(file)
        path = path_of(file)
        if Path(path).suffix in SUFFIXES.values():
            raise ValueError(
                f"Expected a .tflite file. Received: {path}, a form that is written and not read. Give "
                "`keras_sbn.verify` the result of the conversion itself."
            )
        with named(file):
            info = read_file(content)
        target = "lce" if any(op.name.startswith("Lce") for op in info.operators) else "tflite"
        names = info.input_names, info.output_names
        return ConvertedModel(content, target, inspect(content), *names, path=path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file, whole or not at all, and returns its path.

        Raises:
            OSError: If it cannot be written; a file that was there before is unharmed.
        """
        return write_atomically(path, self.content)

    def predict(
        self,
        x: Any,
        dequantize: bool = True,
        *,
        runtime: Runtime | None = None,
        kernel: Kernel | None = None,
        xnnpack: bool | None = None,
        isolated: bool = False,
    ) -> Any:
        """Runs the file: with one-bit kernels in LiteRT, in the Larq Compute Engine or in stock TFLite.

        On x86 LCE runs with its indirect binary kernel, and XNNPACK beside it, and on 64-bit ARM with
        its defaults: the faster there. Stock files run in XNNPACK. The property `runtime` says what runs
        where nothing is chosen.

        Each thread that calls it at the same time has an interpreter of its own, up to the number of
        processor cores.

        Args:
            x: Array `(samples, ...)`; a list of them, or a dictionary by input name, for a model of
                several inputs. Values as Keras takes them: a file with int8 or uint8 inputs quantizes
                them, unless the array has that very type; then it is taken as stored.
            dequantize: Whether int8 or uint8 outputs are returned as the float32 values they stand for,
                or, if false, as stored.
            runtime: What runs the file: `"kernels"`, the one-bit kernels of keras-sbn-kernels in LiteRT;
                `"lce"`, the interpreter of the Larq Compute Engine; or `"litert"`, stock TFLite, of
                LiteRT, tflite-runtime or TensorFlow, for stock files alone. `None` takes the best that is
                installed: for a file with LCE's operators the kernels, then LCE, for a stock file stock
                TFLite.
            kernel: Which of LCE's binary kernels runs: `"default"`, that of 64-bit ARM, `"indirect"`, or
                `"reference"`, that of a build without Ruy; `None` takes the fastest here. One that is
                given asks for LCE.
            xnnpack: Whether stock operators run in XNNPACK; `None` does where that is faster. False asks
                for LCE where the file has its operators.
            isolated: Whether a process of its own runs the file. A damaged file can end the process that
                runs it; then this is a RuntimeError. Starting the process takes some tenths of a second.

        Returns:
            Array `(samples, ...)`, or a list of them for a model of several outputs, in the order of
            `output_names`.

        Raises:
            ValueError: If `x` does not fit the model, or holds NaN; the message names the input. If the
                runtime does not run such a file, or does not have the kernel.
            RuntimeError: If the runtime refuses the file, or the process of an isolated one ended; the
                message names the file, and the layer where that is known.
            ImportError: If the runtime is not installed, or none for the file; the message names the
                package to install.
        """
        from keras_sbn.batches import arrays_of, inputs_of

        arrays = arrays_of(inputs_of(x), self.input_names, "x")
        refuse_nan(arrays, self.input_names)
        options: dict[str, Any] = {"runtime": runtime, "kernel": kernel, "xnnpack": xnnpack}
        with named(self), self.worker(**options) if isolated else self.pool(**options).borrow() as one:
            outputs = one.predict(arrays, dequantize)
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def runtime(self) -> str:
        """What `predict` runs with here, such as "LiteRT, one-bit kernels, avx512".

        Raises:
            ImportError: If no runtime for the file is installed.
            RuntimeError: If the runtime refuses the file.
        """
        with named(self), self.pool().borrow() as interpreter:
            return interpreter.runtime

    def pool(self, **options: Any) -> InterpreterPool:
        """The interpreters of this file, kept for the next call.

        Args:
            options: As for `predict`: `runtime`, `kernel` and `xnnpack`.
        """
        pools: dict[frozenset[Any], InterpreterPool] = self.__dict__.setdefault("_interpreters", {})
        chosen = frozenset(pair for pair in options.items() if pair[1] is not None)
        # Of two threads that come here at once, both go on with the one that was first.
        return pools.get(chosen) or pools.setdefault(
            chosen, InterpreterPool(self.content, self.target, **options)
        )

    def worker(self, num_threads: int = 1, **options: Any) -> Worker:
        """Starts a process that runs the file; `options` are those of `pool`."""
        return Worker(self.content, self.target, num_threads, name=name_of(self), **options)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the interpreters, which belong to a process."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __repr__(self) -> str:
        inputs = ", ".join(f"{found.name} {found.dtype} {found.shape}" for found in self.report.inputs)
        path = f"{self.path}, " if self.path else ""
        size = f"{self.report.file_bytes:,} bytes"
        return f"<{type(self).__name__} {path}target={self.target!r}, {size}, inputs: {inputs}>"

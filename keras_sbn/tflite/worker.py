"""Interpreters in processes of their own: for comparing many samples, and for files that are not trusted.

The engines check what they read only in part: a damaged file can end the process that runs it. In a
process of its own such a file is an error like any other.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from keras_sbn.process import ChildProcess, Connection
from keras_sbn.tflite.interpreter import open_interpreter


class Worker:
    """One interpreter in one process; use it in a `with` statement.

    Args:
        content: The bytes of a `.tflite` model.
        target: As for `open_interpreter`.
        num_threads: Positive number of threads.
        name: What messages call the file.
        options: As for `open_interpreter`: `runtime`, `kernel` and `xnnpack`.
    """

    def __init__(
        self, content: bytes, target: str, num_threads: int = 1, *, name: str = "the file", **options: Any
    ) -> None:
        self._process = ChildProcess(work, f"run {name}")
        try:
            self._process.send((content, target, num_threads, options))
        except BaseException:
            self._process.close()
            raise

    @cached_property
    def runtime(self) -> str:
        """What runs the file; waits until it is open.

        Raises:
            ImportError: If no runtime for the target is installed.
            RuntimeError: If the runtime refuses the file, or the process ended.
        """
        return str(self._process.receive())

    def submit(self, inputs: list[np.ndarray], dequantize: bool = True) -> None:
        """Starts on a batch; `result` has to be called before the next."""
        self._process.send(("predict", (inputs, dequantize)))

    def result(self) -> list[np.ndarray]:
        """Returns the outputs of the batch.

        Raises:
            ValueError: If the batch does not fit the model.
            RuntimeError: If the runtime refuses the file, or the process ended.
        """
        _ = self.runtime
        return list(self._process.receive())

    def predict(self, inputs: list[np.ndarray], dequantize: bool = True) -> list[np.ndarray]:
        """As `Interpreter.predict`."""
        self.submit(inputs, dequantize)
        return self.result()

    def time(self) -> float:
        """As `Interpreter.time`: measured in the process itself."""
        _ = self.runtime
        self._process.send(("time", ()))
        return float(self._process.receive())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.close()


def work(connection: Connection) -> None:
    """Opens the file it is sent, and serves until no more is asked."""
    content, target, num_threads, options = connection.receive()
    try:
        interpreter = open_interpreter(content, target, num_threads, **options)
    except Exception as error:
        connection.fail(error)
        return
    connection.send(interpreter.runtime)
    for method, arguments in connection.messages():
        connection.answer(getattr(interpreter, method), *arguments)

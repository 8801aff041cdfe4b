"""Interpreters in processes of their own, for comparing many samples.

A worker loads the interpreter and NumPy, and not Keras: it starts in a fraction of a second, and it runs
no code of the caller's main module again, as `multiprocessing` would.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from keras_sbn.tflite.interpreter import open_interpreter

# The package's __init__ imports Keras, so an empty module stands for it.
_START = """
import sys, types
package = types.ModuleType("keras_sbn")
package.__path__ = [sys.argv[1]]
sys.modules["keras_sbn"] = package
from keras_sbn.tflite.worker import work
work()
"""


class Worker:
    """One interpreter in one process; use it in a `with` statement.

    Args:
        content: The bytes of a `.tflite` model.
        target: `"lce"` or `"tflite"`.
    """

    def __init__(self, content: bytes, target: str) -> None:
        package = str(Path(__file__).parent.parent)
        # What the process says is kept for the case that it fails.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._send((content, target))

    def submit(self, inputs: list[np.ndarray]) -> None:
        """Starts on a batch; `result` has to be called before the next."""
        self._send(inputs)

    def result(self) -> list[np.ndarray]:
        """Returns the outputs of the batch.

        Raises:
            ValueError: If the batch does not fit the model.
            RuntimeError: If the process failed.
        """
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError:
            raise self._failure() from None
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _failure(self) -> RuntimeError:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip()[-2000:]
        return RuntimeError(
            f"Expected the interpreter's process to answer. Received: exit code {code}. It said:\n{said}"
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


def work() -> None:
    """Serves batches from standard input until it ends."""
    source: BinaryIO = sys.stdin.buffer
    # Native libraries may print: their output goes to the log and not among the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        content, target = pickle.load(source)
        interpreter = open_interpreter(content, target)
        while True:
            try:
                inputs = pickle.load(source)
            except EOFError:
                return
            try:
                answer: Any = interpreter.predict(inputs)
            except (RuntimeError, ValueError) as error:
                answer = error
            pickle.dump(answer, answers, protocol=5)
            answers.flush()

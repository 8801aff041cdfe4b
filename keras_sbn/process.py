"""Child processes: a function of this package in a Python of its own.

A child imports nothing from the working directory, where a file called `numpy.py` may lie beside the
model. It runs no code of the caller's main module again, as `multiprocessing` would, and it does not
import Keras unless its function does, so that it starts in a fraction of a second.

What comes back is not trusted: a child may have run a damaged file or somebody's model. Its answers are
pickles of which only arrays, plain values and the classes that the caller names are read.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

#: Python 3.10 has no `-P`, and puts the working directory first, as ''. Importing `sys` reads no file.
#: The package's __init__ may import Keras, so an empty module stands for it.
_START = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import types
package = types.ModuleType("keras_sbn")
package.__path__ = [sys.argv[1]]
sys.modules["keras_sbn"] = package
from keras_sbn.process import _serve
_serve()
"""
#: The last of what a child wrote to standard error that a message shows.
_LONGEST_LOG = 2000
#: What NumPy's arrays are pickled with, in NumPy 1 and 2.
_ARRAYS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
#: How Windows ends a process.
_WINDOWS_CODES = {
    0xC0000005: "an access violation (0xC0000005)",
    0xC00000FD: "a stack overflow (0xC00000FD)",
    0xC0000409: "a buffer overrun (0xC0000409)",
}
#: What a child's error may be in this process; any other is a RuntimeError.
_ERRORS = (ImportError, OSError, ValueError, RuntimeError)


class ProcessEndedError(RuntimeError):
    """A child process ended without an answer."""


class Connection:
    """What a function in a child process has in the place of arguments and of a result.

    Args:
        source: Where messages are read.
        sink: Where answers are written.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink

    def receive(self) -> Any:
        """Waits for a message of the other process.

        Raises:
            EOFError: If it sends no more.
        """
        return pickle.load(self._source)

    def messages(self) -> Iterator[Any]:
        """The messages of the other process, until it sends no more."""
        while True:
            try:
                message = self.receive()
            except EOFError:
                return
            yield message

    def send(self, answer: Any) -> None:
        """Answers."""
        self._write((True, answer))

    def answer(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Answers with what a function returns, or with its error."""
        try:
            found = function(*arguments)
        except Exception as error:
            self.fail(error)
        else:
            self.send(found)

    def fail(self, error: Exception) -> None:
        """Answers with an error, which `ChildProcess.receive` raises."""
        kind = next((kind for kind in _ERRORS if isinstance(error, kind)), None)
        name = type(error).__name__
        text = str(error) if kind is not None else f"{name}: {error}"
        self._write((False, (kind.__name__ if kind is not None else "RuntimeError", text)))

    def _write(self, message: Any) -> None:
        pickle.dump(message, self._sink, protocol=5)
        self._sink.flush()


class ChildProcess:
    """A process that runs one function of this package; use it in a `with` statement.

    Args:
        function: A function of a module of this package, which takes a `Connection`.
        task: What it does, for messages: "run the file".
        environment: Variables it has beside those of this process.
        answers: Classes that its answers may hold, beside arrays and plain values.
        search_path: Folders to import from after its own. The working directory is left out.
    """

    def __init__(
        self,
        function: Callable[[Connection], None],
        task: str,
        *,
        environment: Mapping[str, str] | None = None,
        answers: Sequence[type] = (),
        search_path: Sequence[str] = (),
    ) -> None:
        self._task = task
        self._allowed = {*_ARRAYS, *((kind.__module__, kind.__qualname__) for kind in answers)}
        # What the process says is kept for the case that it fails.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        package = str(Path(__file__).resolve().parent)
        safe = ["-P"] if sys.version_info >= (3, 11) else []
        self._process = subprocess.Popen(
            [sys.executable, *safe, "-c", _START, package, function.__module__, function.__qualname__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**_safe_environment(), **(environment or {})},
        )
        self.send(_without_working_directory(search_path))

    def send(self, message: Any) -> None:
        """Sends what can be pickled.

        Raises:
            ProcessEndedError: If the process has ended; where it said why, ImportError and so on, as
                `receive` raises them.
        """
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except OSError:
            raise self._why_it_ended() from None

    def receive(self) -> Any:
        """Waits for an answer and returns it.

        Raises:
            ProcessEndedError: If the process ended without one; the message says how it ended, and what
                it wrote to standard error.
            ImportError: If the function failed so; likewise OSError, RuntimeError and ValueError.
        """
        assert self._process.stdout is not None
        try:
            succeeded, answer = _Answers(self._process.stdout, self._allowed).load()
        except _UnreadableError as error:
            self._process.kill()
            raise ProcessEndedError(
                f"Expected a process of its own to {self._task}. Received: an answer that is not read, "
                f"as {error}"
            ) from None
        except (EOFError, pickle.UnpicklingError):
            raise self._ended() from None
        if succeeded:
            return answer
        name, text = answer
        raise next(kind for kind in _ERRORS if kind.__name__ == name)(text)

    def said(self) -> str:
        """The last of what the process has written to standard error, without what merely informs."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LONGEST_LOG))
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith("INFO:")).strip()

    def _why_it_ended(self) -> Exception:
        """Why a process takes no more messages: a function that fails answers so before it ends."""
        self._wait()
        while True:
            try:
                self.receive()
            except Exception as error:
                return error

    def _wait(self) -> None:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            # It closed its input or output and goes on.
            self._process.kill()
            self._process.wait()

    def _ended(self) -> ProcessEndedError:
        self._wait()
        said = self.said()
        return ProcessEndedError(
            f"Expected a process of its own to {self._task}. Received: it was ended by "
            f"{how_it_ended(self._process.returncode)}" + (f". It said:\n{said}" if said else "")
        )

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


def how_it_ended(code: int) -> str:
    """The return code of a process in words: "signal SIGSEGV (Segmentation fault)", "exit code 3"."""
    if code >= 0:
        return _WINDOWS_CODES.get(code, f"exit code {code}")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    words = signal.strsignal(-code)
    return f"signal {name}" + (f" ({words})" if words else "")


class _UnreadableError(pickle.UnpicklingError):
    """An answer holds more than data."""


class _Answers(pickle.Unpickler):
    """Reads arrays, plain values and the classes that are allowed, and calls nothing else."""

    def __init__(self, source: Any, allowed: set[tuple[str, str]]) -> None:
        super().__init__(source)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _UnreadableError(f"it holds {module}.{name}")
        return super().find_class(module, name)


def _safe_environment() -> dict[str, str]:
    """The variables of this process, for a Python that imports nothing from the working directory.

    An empty entry of PYTHONPATH stands for it, as in `PYTHONPATH=$PYTHONPATH:/folder`.
    """
    found = {**os.environ, "PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in found:
        entries = found.pop("PYTHONPATH").split(os.pathsep)
        found.update({"PYTHONPATH": path} if (path := os.pathsep.join(filter(None, entries))) else {})
    return found


def _without_working_directory(search_path: Sequence[str]) -> list[str]:
    here = Path.cwd()
    return [entry for entry in search_path if entry and Path(entry) != here]


def _serve() -> None:
    """Runs the function that the command line names, in a child process."""
    # Native libraries may print: their output goes to the log and not among the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        connection = Connection(sys.stdin.buffer, answers)
        found = connection.receive()
        sys.path += [entry for entry in found if entry not in sys.path]
        _, _, module, function = sys.argv
        getattr(importlib.import_module(module), function)(connection)

"""Running the C code here: compiled by the machine's C compiler, and loaded."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from keras_sbn.c_code.generate import generate
from keras_sbn.tflite.interpreter import Interpreter

#: Compilers that are tried, after the one that the variable CC names.
COMPILERS = ("cc", "gcc", "clang")
#: As a product and a sum of Keras are rounded twice, no compiler may round them once.
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
_NAME = "network"


def compiler() -> str | None:
    """The C compiler of this machine: the one that CC names, or the first that is found."""
    named = os.environ.get("CC")
    for name in (named,) if named else COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    return None


def why_no_compiler() -> str | None:
    """Why C code cannot be run here, and the remedy; `None` where it can."""
    if compiler() is not None:
        return None
    named = os.environ.get("CC")
    if named:
        return f"the C compiler that CC names, {named!r}, is not found; unset CC, or install it"
    return f"none of the C compilers {', '.join(COMPILERS)} is installed; apt-get install gcc, or set CC"


def compile_code(sources: Sequence[Path], out: Path, *flags: str) -> None:
    """Compiles and links.

    Raises:
        ImportError: If there is no C compiler.
        RuntimeError: If it refuses the code.
    """
    found = compiler()
    if found is None:
        raise ImportError(f"Running C code needs a C compiler: {why_no_compiler()}")
    command = [found, *FLAGS, *flags, *map(str, sources), "-o", str(out), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"Expected C code that {found} compiles. Received: exit code {done.returncode}. It said:\n"
            f"{done.stderr[-2000:]}"
        )


@functools.lru_cache(maxsize=4)
def _library(content: bytes) -> bytes:
    """The bytes of the shared library of a file."""
    code = generate(content, _NAME)
    with tempfile.TemporaryDirectory(prefix="keras_sbn_c_") as name:
        folder = Path(name)
        (folder / f"{_NAME}.h").write_text(code.header)
        (folder / f"{_NAME}.c").write_text(code.source)
        compile_code([folder / f"{_NAME}.c"], folder / "library", "-shared", "-fPIC")
        return (folder / "library").read_bytes()


class CInterpreter(Interpreter):
    """Runs the C code of a file in this process; every interpreter has static memory of its own.

    Args:
        content: The bytes of the file that the code is written from.
        num_threads: As for others; the code runs in one.

    Raises:
        ImportError: If there is no C compiler.
        RuntimeError: If the compiler refuses the code.
        ValueError: If an operator has no C function.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        library = _library(content)
        super().__init__(content, f"C, compiled by {Path(compiler() or '').name}")
        # A library that is loaded from another file has another static array.
        handle, path = tempfile.mkstemp(prefix="keras_sbn_c_", suffix=".so")
        with os.fdopen(handle, "wb") as file:
            file.write(library)
        self._run = ctypes.CDLL(path)[f"{_NAME}_run"]
        self._run.restype = None
        if sys.platform != "win32":
            with suppress(OSError):
                os.unlink(path)

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        read = [np.ascontiguousarray(array) for array in inputs]
        written = [np.empty(tensor.shape, tensor.dtype) for tensor in self.file.outputs]
        self._run(*(ctypes.c_void_p(array.ctypes.data) for array in (*read, *written)))
        return written

"""LiteRT's C API, in the library that its wheel brings."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from keras_sbn_kernels.library import KernelsError, LiteRtFunctions

#: The first release that lets a program bring operators.
OLDEST = (2, 1, 0)
_NAMES = ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll", "libLiteRt.dll")
CPU = 1
HOST_MEMORY = 1
_MAX_RANK = 8


class Layout(ctypes.Structure):
    """`LiteRtLayout`."""

    _fields_ = [
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * _MAX_RANK),
        ("strides", ctypes.c_uint32 * _MAX_RANK),
    ]


class TensorType(ctypes.Structure):
    """`LiteRtRankedTensorType`."""

    _fields_ = [("element_type", ctypes.c_int), ("layout", Layout)]

    def shape(self) -> tuple[int, ...]:
        return tuple(self.layout.dimensions[: self.layout.rank])


class Quantization(ctypes.Structure):
    """`LiteRtQuantizationPerTensor`."""

    _fields_ = [("scale", ctypes.c_float), ("zero_point", ctypes.c_int64)]


class EnvironmentOption(ctypes.Structure):
    """`LiteRtEnvOption` with an integer."""

    _fields_ = [("tag", ctypes.c_int), ("type", ctypes.c_int64), ("value", ctypes.c_int64)]


_REGISTERED_ACCELERATORS, _LEAST_SEVERITY = 24, 25
_INTEGER, _ERROR = 2, 3


class Runtime:
    """The library, its version and the functions that are used.

    Args:
        path: The library.
        version: Version of LiteRT, as three numbers.
    """

    def __init__(self, path: Path, version: tuple[int, ...]) -> None:
        self.version = version
        try:
            self.lib = ctypes.CDLL(str(path))
        except OSError as error:
            raise KernelsError(f"Expected LiteRT's library to load. Received: {error}") from error
        if version < OLDEST or not hasattr(self.lib, "LiteRtAddCustomOpKernelOption"):
            found = ".".join(map(str, version))
            raise KernelsError(
                f"Expected LiteRT 2.1 or later, which takes operators of others. Received: {found}; "
                "pip install --upgrade ai-edge-litert"
            )

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that returns a status.

        Raises:
            KernelsError: If the status is not 0.
        """
        status = getattr(self.lib, name)(*arguments)
        if status != 0:
            raise KernelsError(f"Expected {name} to succeed. Received: LiteRT's status {status}")

    def create(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls a function whose last argument receives an object."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def environment(self) -> ctypes.c_void_p:
        """Creates an environment for the processor alone, that logs what is wrong and nothing else."""
        options = (EnvironmentOption * 2)(
            EnvironmentOption(_REGISTERED_ACCELERATORS, _INTEGER, CPU),
            EnvironmentOption(_LEAST_SEVERITY, _INTEGER, _ERROR),
        )
        # Release 2.1.5 brought these options.
        count = len(options) if self.version >= (2, 1, 5) else 0
        return self.create("LiteRtCreateEnvironment", count, options)

    def functions(self) -> LiteRtFunctions:
        """Addresses of the functions that the kernels call."""
        names = (
            "LiteRtAddCustomOpKernelOption",
            "LiteRtLockTensorBuffer",
            "LiteRtUnlockTensorBuffer",
            "LiteRtGetTensorBufferSize",
        )
        return LiteRtFunctions(
            *(ctypes.cast(getattr(self.lib, name), ctypes.c_void_p).value for name in names)
        )

    def model_from_memory(self, environment: ctypes.c_void_p, address: int, size: int) -> ctypes.c_void_p:
        """Reads a model; the memory must outlive it."""
        arguments = (ctypes.c_void_p(address), ctypes.c_size_t(size))
        # Release 2.1.6 put the environment before the other arguments.
        first = (environment,) if self.version >= (2, 1, 6) else ()
        return self.create("LiteRtCreateModelFromBuffer", *first, *arguments)

    def add_threads(self, options: ctypes.c_void_p, num_threads: int) -> None:
        """Has stock operators run with so many threads."""
        if hasattr(self.lib, "LiteRtCreateCpuOptions"):  # until 2.1.2
            threads = self.create("LiteRtCreateCpuOptions")
            cpu = ctypes.c_void_p()
            self.call("LiteRtFindCpuOptions", threads, ctypes.byref(cpu))
            self.call("LiteRtSetCpuOptionsNumThread", cpu, num_threads)
        else:
            # Later releases pass options as text; it is a constant, so there is nothing to free.
            text = _kept_text(f"num_threads = {num_threads}\n".encode())
            threads = self.create("LiteRtCreateOpaqueOptions", b"xnnpack", text, _FREES_NOTHING)
        self.call("LiteRtAddOpaqueOptions", options, threads)


_FREES_NOTHING = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda address: None)


@functools.cache
def _kept_text(text: bytes) -> ctypes.Array:
    """The text at an address that stays."""
    return ctypes.create_string_buffer(text)


@functools.cache
def runtime() -> Runtime:
    """Returns the installed LiteRT.

    Raises:
        ImportError: If it is not installed.
        KernelsError: If it is too old.
    """
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    if not folders:
        raise ImportError("Running one-bit files needs LiteRT: pip install 'ai-edge-litert>=2.1'")
    text = importlib.metadata.version("ai-edge-litert")
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    found = [folder / name for folder in folders for name in _NAMES if (folder / name).exists()]
    if not found:
        raise KernelsError(
            f"Expected {_NAMES[0]} in ai_edge_litert, as LiteRT 2.1 and later have it. Received: "
            f"LiteRT {text} without; pip install --upgrade ai-edge-litert"
        )
    return Runtime(found[0], version)

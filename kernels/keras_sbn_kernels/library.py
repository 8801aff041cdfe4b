"""The library of kernels: where it is, and its functions (`include/sbn_kernels.h`)."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

#: Name of the instruction set to use instead of the fastest one.
VARIABLE = "SBN_KERNELS_INSTRUCTIONS"
_NAMES = ("libsbn_kernels.so", "libsbn_kernels.dylib", "sbn_kernels.dll")


class KernelsError(RuntimeError):
    """A file, processor or runtime that the kernels cannot run on; the message names the remedy."""


class LiteRtFunctions(ctypes.Structure):
    """`sbn_litert`: addresses of the functions of LiteRT that the kernels call."""

    _fields_ = [
        ("add_custom_op_kernel", ctypes.c_void_p),
        ("lock_buffer", ctypes.c_void_p),
        ("unlock_buffer", ctypes.c_void_p),
        ("buffer_size", ctypes.c_void_p),
    ]


@functools.cache
def library() -> ctypes.CDLL:
    """Returns the loaded library with the types of its functions.

    Raises:
        ImportError: If it is not beside this file, or was built for another system.
    """
    folder = Path(__file__).parent
    found = [folder / name for name in _NAMES if (folder / name).exists()]
    if not found:
        raise ImportError(
            f"Expected one of {', '.join(_NAMES)} in {folder.name}/. Received: none; "
            "pip install --force-reinstall keras-sbn-kernels builds it"
        )
    try:
        lib = ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise ImportError(
            f"Expected a library of kernels for this system. Received: {error}; "
            "pip install --force-reinstall keras-sbn-kernels builds it"
        ) from error
    pointer, size, text, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int
    pointers, sizes = ctypes.POINTER(pointer), ctypes.POINTER(size)
    seconds = ctypes.POINTER(ctypes.c_double)
    types = {
        "sbn_version": (text,),
        "sbn_instruction_set": (text, integer, ctypes.POINTER(integer)),
        "sbn_open": (pointer, text, size, integer, text, text, size),
        "sbn_file": (pointer, pointer, sizes),
        "sbn_register": (integer, pointer, ctypes.POINTER(LiteRtFunctions), pointer),
        "sbn_error": (text, pointer),
        "sbn_used_instruction_set": (text, pointer),
        "sbn_num_nodes": (integer, pointer),
        "sbn_describe_node": (text, pointer, integer, seconds, integer),
        "sbn_run_node": (
            integer,
            pointer,
            integer,
            integer,
            integer,
            pointers,
            sizes,
            integer,
            pointers,
            sizes,
        ),
        "sbn_close": (None, pointer),
    }
    for name, (result, *arguments) in types.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def instruction_sets() -> dict[str, bool]:
    """Returns the instruction sets of this build, fastest first, and whether this processor has them."""
    found = {}
    usable = ctypes.c_int()
    index = 0
    while (name := library().sbn_instruction_set(index, ctypes.byref(usable))) is not None:
        found[name.decode()] = bool(usable.value)
        index += 1
    return found


class Plan:
    """The nodes of a file, planned for this processor.

    Args:
        content: The bytes of a `.tflite` file.
        num_threads: Number of threads, 1 to 256.
        instructions: Name of an instruction set; by default that of the environment variable
            `SBN_KERNELS_INSTRUCTIONS`, or the fastest that the processor has.

    Raises:
        KernelsError: If the file is damaged, has a one-bit operator that cannot be computed exactly, or
            the instruction set is not to be had.
    """

    def __init__(self, content: bytes, num_threads: int = 1, instructions: str | None = None) -> None:
        self._lib = library()
        self.handle = None
        instructions = instructions or os.environ.get(VARIABLE) or None
        error = ctypes.create_string_buffer(256)
        name = instructions.encode() if instructions else None
        self.handle = self._lib.sbn_open(content, len(content), num_threads, name, error, len(error))
        if self.handle is None:
            raise KernelsError(_with_remedy(error.value.decode(errors="replace")))

    @property
    def instructions(self) -> str:
        """Name of the instruction set in use."""
        name: str = self._lib.sbn_used_instruction_set(self.handle).decode()
        return name

    def file(self) -> tuple[int, int]:
        """Address and size of the file that LiteRT is given."""
        size = ctypes.c_size_t()
        return self._lib.sbn_file(self.handle, ctypes.byref(size)), size.value

    def register(self, functions: LiteRtFunctions, options: ctypes.c_void_p) -> None:
        """Registers the nodes with a LiteRtOptions object."""
        status = self._lib.sbn_register(self.handle, ctypes.byref(functions), options)
        if status != 0:
            raise KernelsError(
                f"Expected LiteRT to take the one-bit operators. Received: its status {status}"
            )

    def error(self) -> str | None:
        """What went wrong in a node since the last call."""
        message = self._lib.sbn_error(self.handle)
        return message.decode(errors="replace") if message else None

    def profile(self, reset: bool = True) -> list[tuple[str, float]]:
        """Description of each node, and the seconds that it ran."""
        seconds = ctypes.c_double()
        found = []
        for index in range(self._lib.sbn_num_nodes(self.handle)):
            text = self._lib.sbn_describe_node(self.handle, index, ctypes.byref(seconds), int(reset))
            found.append((text.decode(), seconds.value))
        return found

    def run_node(
        self, index: int, batch: int, inputs: list[ctypes.Array], outputs: list[ctypes.Array]
    ) -> None:
        """Runs one node alone on buffers, `(char * bytes)` arrays."""

        def pair(buffers: list[ctypes.Array]) -> tuple[ctypes.Array, ctypes.Array]:
            addresses = (ctypes.c_void_p * len(buffers))(
                *(ctypes.addressof(buffer) for buffer in buffers)
            )
            return addresses, (ctypes.c_size_t * len(buffers))(*(len(buffer) for buffer in buffers))

        arguments = (len(inputs), *pair(inputs), len(outputs), *pair(outputs))
        if self._lib.sbn_run_node(self.handle, index, batch, *arguments) != 0:
            raise KernelsError(self.error() or "Expected the node to run. Received: no reason")

    def close(self) -> None:
        """Frees the nodes; nothing may run afterwards."""
        if self.handle is not None:
            self._lib.sbn_close(self.handle)
            self.handle = None

    def __del__(self) -> None:
        if getattr(self, "handle", None) is not None:
            self.close()


def _with_remedy(message: str) -> str:
    if "instruction set" in message:
        usable = [name for name, has in instruction_sets().items() if has]
        return f"{message}. This processor runs {', '.join(usable)}"
    if "damaged" in message:
        return f"{message}. Convert the model again, or copy the file again"
    return message

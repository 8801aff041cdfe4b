"""A one-bit file in LiteRT."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_sbn_kernels import litert
from keras_sbn_kernels.library import KernelsError, Plan

#: Types of LiteRT's tensors by their code.
_TYPES = {
    1: "float32",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    11: "float64",
}


class Port:
    """An input or output of a model.

    Attributes:
        shape: Its shape, with the batch.
        dtype: Its type.
        scale: Scale and zero point, `None` where values are stored as they are.
    """

    def __init__(self, runtime: litert.Runtime, tensor: ctypes.c_void_p) -> None:
        self.tensor_type = litert.TensorType()
        runtime.call("LiteRtGetRankedTensorType", tensor, ctypes.byref(self.tensor_type))
        sizes = self.tensor_type.layout.dimensions
        if self.tensor_type.layout.rank and sizes[0] == -1:
            sizes[0] = 1  # a batch that is left open; the file's own is 1
        self.shape = self.tensor_type.shape()
        code = self.tensor_type.element_type
        if code not in _TYPES or any(size < 1 for size in self.shape):
            raise KernelsError(
                f"Expected inputs and outputs of {', '.join(_TYPES.values())} with positive sizes. "
                f"Received: shape {self.shape}, type number {code}"
            )
        self.dtype = np.dtype(_TYPES[code])
        self.scale = _scale(runtime, tensor)
        self.buffer = ctypes.c_void_p()
        self.array: np.ndarray = np.zeros(0)


def _scale(runtime: litert.Runtime, tensor: ctypes.c_void_p) -> tuple[float, int] | None:
    kind = ctypes.c_int()
    runtime.call("LiteRtGetQuantizationTypeId", tensor, ctypes.byref(kind))
    if kind.value != 1:
        return None
    found = litert.Quantization()
    runtime.call("LiteRtGetPerTensorQuantization", tensor, ctypes.byref(found))
    return (found.scale, found.zero_point) if found.scale else None


def _free(
    lib: ctypes.CDLL, objects: list[tuple[str, ctypes.c_void_p]], ports: list[Port], plan: Plan
) -> None:
    """Destroys LiteRT's objects, the newest first, then the nodes that they call."""
    for port in ports:
        port.array = np.zeros(0)
    while objects:
        destroy, made = objects.pop()
        function = getattr(lib, destroy)
        function.restype = None
        function(made)
    plan.close()


class Model:
    """Runs a `.tflite` file with one-bit operators, and stock ones, in the installed LiteRT.

    Args:
        file: A path, or the bytes of the file.
        num_threads: Number of threads, 1 to 256.
        instructions: Name of an instruction set, one of `instruction_sets()`; by default the environment
            variable `SBN_KERNELS_INSTRUCTIONS`, or the fastest one.

    Attributes:
        inputs: A `Port` for each input.
        outputs: A `Port` for each output.
        instructions: Name of the instruction set in use.

    Raises:
        ImportError: If LiteRT or the library of kernels is not installed.
        KernelsError: If the file is damaged, cannot be run exactly, or LiteRT is too old.
        OSError: If the file cannot be read.

    Example:

        model = Model("model.tflite")
        (logits,) = model.run([image])    # image: model.inputs[0].shape and .dtype
    """

    def __init__(
        self,
        file: bytes | str | os.PathLike[str],
        num_threads: int = 1,
        instructions: str | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._objects: list[tuple[str, ctypes.c_void_p]] = []
        self._all_ports: list[Port] = []
        content = (
            bytes(file) if isinstance(file, bytes | bytearray | memoryview) else Path(file).read_bytes()
        )
        self._plan = Plan(content, num_threads, instructions)
        self.instructions = self._plan.instructions
        self._runtime = litert.runtime()
        # It holds the plan, which so outlives LiteRT's objects even where the collector frees a cycle or
        # the interpreter ends; a method `__del__` would be called in any order with the plan's.
        self._finalizer = weakref.finalize(
            self, _free, self._runtime.lib, self._objects, self._all_ports, self._plan
        )
        self._compile(num_threads)

    def _keep(self, destroy: str, made: ctypes.c_void_p) -> ctypes.c_void_p:
        """Has the object destroyed with the model, before those that were made earlier."""
        self._objects.append((destroy, made))
        return made

    def _compile(self, num_threads: int) -> None:
        run = self._runtime
        environment = self._keep("LiteRtDestroyEnvironment", run.environment())
        address, size = self._plan.file()
        model = self._keep("LiteRtDestroyModel", run.model_from_memory(environment, address, size))
        options = self._keep("LiteRtDestroyOptions", run.create("LiteRtCreateOptions"))
        run.call("LiteRtSetOptionsHardwareAccelerators", options, litert.CPU)
        run.add_threads(options, num_threads)
        self._plan.register(run.functions(), options)
        try:
            self._compiled = run.create("LiteRtCreateCompiledModel", environment, model, options)
        except KernelsError as error:
            raise KernelsError(self._plan.error() or str(error)) from error
        self._keep("LiteRtDestroyCompiledModel", self._compiled)
        self._check()
        ports: dict[int, Port] = {}
        self._input_buffers, self.inputs = self._ports(environment, model, "Input", ports)
        self._output_buffers, self.outputs = self._ports(environment, model, "Output", ports)

    def _ports(
        self,
        environment: ctypes.c_void_p,
        model: ctypes.c_void_p,
        side: str,
        ports: dict[int, Port],
    ) -> tuple[ctypes.Array, list[Port]]:
        """Buffers in the order of LiteRT's signature, and ports in the order of the file.

        A tensor that is several outputs, or an input and an output, has one buffer, for LiteRT writes no
        other; `ports` are those that there are, by tensor.
        """
        run = self._runtime
        zero = ctypes.c_size_t(0)
        signature = run.create("LiteRtGetModelSignature", model, zero)
        subgraph = run.create("LiteRtGetModelSubgraph", model, zero)
        count = ctypes.c_size_t()
        run.call(f"LiteRtGetNumSubgraph{side}s", subgraph, ctypes.byref(count))
        indices = [ctypes.c_size_t(i) for i in range(count.value)]
        tensors = [run.create(f"LiteRtGetSubgraph{side}", subgraph, i).value or 0 for i in indices]
        signed = [
            run.create(f"LiteRtGetSignature{side}TensorByIndex", signature, i).value or 0 for i in indices
        ]
        if sorted(tensors) != sorted(signed):
            raise KernelsError(
                f"Expected a signature of the model's own {side.lower()}s. Received: another"
            )
        buffers = (ctypes.c_void_p * len(tensors))()
        for place, value in enumerate(signed):
            if value in ports:
                buffers[place] = ports[value].buffer
                continue
            port = ports[value] = Port(run, ctypes.c_void_p(value))
            self._all_ports.append(port)
            requirements = run.create(
                f"LiteRtGetCompiledModel{side}BufferRequirements",
                self._compiled,
                zero,
                ctypes.c_size_t(place),
            )
            size = ctypes.c_size_t()
            run.call("LiteRtGetTensorBufferRequirementsBufferSize", requirements, ctypes.byref(size))
            port.buffer = self._keep(
                "LiteRtDestroyTensorBuffer",
                run.create(
                    "LiteRtCreateManagedTensorBuffer",
                    environment,
                    litert.HOST_MEMORY,
                    ctypes.byref(port.tensor_type),
                    size,
                ),
            )
            address = run.create("LiteRtGetTensorBufferHostMemory", port.buffer).value
            elements = int(np.prod(port.shape, dtype=np.int64))
            if address is None or size.value < elements * port.dtype.itemsize:
                raise KernelsError(
                    f"Expected a buffer of {elements * port.dtype.itemsize} bytes. Received: {size.value}"
                )
            memory = (ctypes.c_char * (elements * port.dtype.itemsize)).from_address(address)
            port.array = np.frombuffer(memoryview(memory), port.dtype).reshape(port.shape)
            buffers[place] = port.buffer
        return buffers, [ports[tensor] for tensor in tensors]

    def _check(self) -> None:
        message = self._plan.error()
        if message is not None:
            raise KernelsError(message)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs for one batch of the size in the file; calls from several threads wait.

        Args:
            inputs: An array for each input, of its shape and type.

        Raises:
            ValueError: If an array has another shape or type.
            KernelsError: If the runtime or an operator fails.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"Expected {len(self.inputs)} inputs. Received: {len(inputs)}")
        for port, array in zip(self.inputs, inputs, strict=True):
            if array.shape != port.shape or array.dtype != port.dtype:
                raise ValueError(
                    f"Expected an input of shape {port.shape} and type {port.dtype}. "
                    f"Received: shape {array.shape}, type {array.dtype}"
                )
        with self._lock:
            return self._run(inputs)

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        for port, array in zip(self.inputs, inputs, strict=True):
            port.array[...] = array
        run = self._runtime
        try:
            run.call(
                "LiteRtRunCompiledModel",
                self._compiled,
                ctypes.c_size_t(0),
                ctypes.c_size_t(len(self.inputs)),
                self._input_buffers,
                ctypes.c_size_t(len(self.outputs)),
                self._output_buffers,
            )
        except KernelsError as error:
            raise KernelsError(self._plan.error() or str(error)) from error
        self._check()
        return [port.array.copy() for port in self.outputs]

    def profile(self) -> list[tuple[str, float]]:
        """What each one-bit node computes, and the seconds that it ran since the last call."""
        return self._plan.profile()

    def close(self) -> None:
        """Frees everything; the model cannot run afterwards."""
        self._finalizer()

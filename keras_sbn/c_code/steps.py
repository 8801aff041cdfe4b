"""What the C code does one after the other: the operators of a file, some of them in one step.

A RESHAPE moves nothing, so it is no step: what it writes lies where its input lies. A constant that the
file dequantizes when it is loaded is a constant here. And three pairs become one step, so that the first
writes bits and no map of bytes or floats lies in memory:

- an int8 CONV_2D that ends at the zero point, as the first layer of an image, and LceQuantize, for which
  the 8-bit image need not become signed first;
- LceBconv2d that writes plain sums, less a threshold, and LceQuantize: a + b < 0 is a < ceil(-b).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_sbn.tflite.options import ACTIVATION
from keras_sbn.tflite.reader import FileInfo, TensorInfo

#: How the portable form of ±1 is stored: -1 and 0, with 127 for 0.
_HALVED = ((1.0,), (127,))


@dataclass(eq=False)
class Step:
    """One operator, or several in one.

    `name` is that of the operator, with that of the one that is in it as well: "CONV_2D+LceQuantize".
    """

    name: str
    inputs: list[TensorInfo | None]
    output: TensorInfo
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def sources(self) -> list[TensorInfo]:
        """The inputs that are not left out."""
        return [tensor for tensor in self.inputs if tensor is not None]


@dataclass(eq=False)
class Steps:
    """The steps of a file, in order.

    Attributes:
        inputs: The inputs of the network.
        outputs: Its outputs.
        steps: What is done.
        same: By the identity of a tensor that a RESHAPE writes, the tensor that it reads.
        constants: By the identity of a tensor that is a dequantized constant, that constant.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    steps: list[Step]
    same: dict[int, TensorInfo]
    constants: dict[int, TensorInfo]

    def stored(self, tensor: TensorInfo) -> TensorInfo:
        """The tensor in whose place a tensor lies."""
        while id(tensor) in self.same:
            tensor = self.same[id(tensor)]
        return tensor

    def values(self, tensor: TensorInfo) -> np.ndarray:
        """A constant, as the numbers it stands for.

        Raises:
            ValueError: If it is none.
        """
        stored = self.constants.get(id(tensor), tensor)
        found = stored.values()
        if found is None:
            raise ValueError(f"Expected a constant. Received: {tensor.name!r}, which is computed.")
        if stored is tensor:
            return found
        (scale,), (zero,) = stored.scales, stored.zero_points
        return (np.float32(scale) * (found.astype(np.float32) - np.float32(zero))).astype(np.float32)


def steps_of(info: FileInfo) -> Steps:
    """The steps of a file.

    Raises:
        ValueError: If an operator writes several tensors.
    """
    found = Steps(info.inputs, info.outputs, [], {}, {})
    for op in info.operators:
        if len(op.outputs) != 1:
            raise ValueError(f"Expected operators of one output. Received: {op.name} with several.")
        (output,), first = op.outputs, op.inputs[0] if op.inputs else None
        if op.name == "RESHAPE" and first is not None and not first.bytes:
            found.same[id(output)] = first
        elif op.name == "DEQUANTIZE" and first is not None and first.bytes:
            found.constants[id(output)] = first
        else:
            found.steps.append(Step(op.name, list(op.inputs), output, dict(op.options)))
    for join in (_joined_bytes, _joined_sums):
        _join(found, join)
    _read_images_directly(found)
    return found


def _readers(steps: Steps) -> Counter[int]:
    """How many read what lies in a tensor's place, the outputs of the network among them."""
    read = [tensor for step in steps.steps for tensor in step.sources]
    return Counter(id(steps.stored(tensor)) for tensor in [*read, *steps.outputs])


def _join(steps: Steps, join: Callable[[Steps, Step, TensorInfo], Step | None]) -> None:
    """Makes one step of a step and the LceQuantize that alone reads it."""
    counts, made = _readers(steps), {id(step.output): step for step in steps.steps}
    kept: list[Step] = []
    for step in steps.steps:
        source = made.get(id(step.inputs[0])) if step.name == "LceQuantize" else None
        alone = source is not None and counts[id(source.output)] == 1
        joined = join(steps, source, step.output) if source is not None and alone else None
        if source is not None and joined is not None:
            kept.remove(source)
        kept.append(joined or step)
    steps.steps = kept


def _joined_bytes(steps: Steps, step: Step, output: TensorInfo) -> Step | None:
    """An int8 convolution of unit scales whose sum, with its bias, is compared with 0."""
    ends = step.options.get("fusedActivationFunction") == ACTIVATION["relu_n1_to_1"]
    stored = (step.output.scales, step.output.zero_points)
    if step.name != "CONV_2D" or step.output.dtype != "int8" or stored != _HALVED or not ends:
        return None
    return Step("CONV_2D+LceQuantize", step.inputs, output, step.options)


def _joined_sums(steps: Steps, step: Step, output: TensorInfo) -> Step | None:
    """A convolution of bits whose sum is compared, in float32, with a number that is exact there."""
    if step.name != "LceBconv2d" or step.output.dtype != "float32":
        return None
    if step.options.get("fused_activation_function") != ACTIVATION["none"]:
        return None
    factor, offset = step.inputs[2], step.inputs[3]
    if factor is not None and not (steps.values(factor) == 1).all():
        return None
    values = np.zeros(step.output.shape[-1]) if offset is None else steps.values(offset)
    if np.abs(values).max() > 2**22:
        return None
    return Step(
        "LceBconv2d+LceQuantize", step.inputs, output, {**step.options, "least": np.ceil(-values)}
    )


def _read_images_directly(steps: Steps) -> None:
    """Lets a first layer read the unsigned image, where it is stored 128 higher."""
    made = {id(step.output): step for step in steps.steps}
    for step in steps.steps:
        source = made.get(id(step.inputs[0])) if step.name == "CONV_2D+LceQuantize" else None
        if source is not None and is_flip(source):
            step.inputs[0] = source.inputs[0]
    counts = _readers(steps)
    steps.steps = [step for step in steps.steps if not is_flip(step) or counts[id(step.output)]]


def is_flip(step: Step) -> bool:
    """Whether a step makes signed 8-bit integers of unsigned ones, or the other way round."""
    source = step.inputs[0]
    if step.name != "QUANTIZE" or source is None or source.scales != step.output.scales:
        return False
    if {source.dtype, step.output.dtype} != {"int8", "uint8"}:
        return False
    (before,), (after,) = source.zero_points, step.output.zero_points
    return after - before == (-128 if source.dtype == "uint8" else 128)

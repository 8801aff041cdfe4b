"""Which function writes which layer, and in which types.

    @lowers(keras.layers.MaxPooling2D, int8=same, bits="selects")
    def max_pool(call: Call) -> Tensor: ...

One function writes a layer in float32, in int8 and on bits. It finds its inputs prepared and its output
described in `call`, and never asks for the type. What differs is how int8 inputs and outputs are stored:
that is the rule given as `int8`, in the words of TFLite's own operator traits.

A layer is looked up by its exact computation (`keras_sbn.folding.computation`), so a subclass that
computes otherwise finds no function.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.fused import FusedActivation, FusedThreshold
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.operators import Operators
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.conversion.scales import Scales
from keras_sbn.conversion.values import Values
from keras_sbn.folding import functions
from keras_sbn.folding.graph import Graph, Node, only_input
from keras_sbn.folding.ops import KerasCall, Slot


@dataclass
class Call:
    """One node to be written: what it computes, its inputs, and the tensor to write.

    Attributes:
        node: The node.
        emitter: Receives tensors and operators.
        values: Where the values of other nodes live.
        scales: How values are stored in int8.
        inputs: The tensors of its inputs, all in the type that the layer is written in.
        inner: The operation of the node, what is fused taken off.
        op: What it computes: an operation of the fold, or a Keras layer.
        layer: Name of the layer whose row of the report counts the operators.
        activation: The fused activation function.
        output: The tensor to write.
    """

    node: Node
    emitter: Operators
    values: Values
    scales: Scales
    inputs: list[Tensor] = field(default_factory=list)
    inner: Any = field(init=False)
    op: Any = field(init=False)
    layer: str = field(init=False)
    activation: str = field(init=False)
    output: Output = field(init=False)

    def __post_init__(self) -> None:
        self.inner, self.op, self.layer = computed_by(self.node)
        op = self.node.op
        self.activation = op.activation if isinstance(op, FusedActivation) else "none"
        self.output = Output(self.layer, static_shape(self.node), name=self.node.name)

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """The fused factor and offset of each channel."""
        op, channels = self.node.op, self.output.shape[-1]
        if isinstance(op, FusedActivation):
            return op.factor, op.offset
        return np.ones(channels), np.zeros(channels)

    @property
    def input(self) -> Tensor:
        """The only input."""
        return only_input(self.layer, self.inputs)

    @property
    def arguments(self) -> list[Any]:
        """The arguments of a function, in their order, with a `Slot` for every tensor."""
        args, kwargs = self.inner.arguments
        return [*args, *kwargs.values()]

    def requantized(self, source: Node, x: Tensor, quant: QuantParams) -> Tensor:
        """The tensor of an input in another scale."""
        if x.quant == quant:
            return x
        suffix = f"for_{self.node.name}"
        output = Output(self.layer, x.shape, quant, name=source.name, suffix=suffix)
        return self.emitter.quantize(x, output)


Function = Callable[[Call], Tensor]
FunctionOfEach = Callable[[Call, Any], Tensor]
#: Prepares the inputs of a call and returns how its output is stored; `None` where a layer with these
#: arguments has no int8 operator, and is written in float32, or refused.
Int8Rule = Callable[[Call], QuantParams | None]


def same(call: Call) -> QuantParams:
    """The output is stored as the only input is: values are moved or selected."""
    call.inputs = [call.values.number(call.node.input)]
    return call.input.params


def one_scale(call: Call) -> QuantParams:
    """All inputs are stored as the output is: the kernel copies."""
    sources = call.node.inputs
    tensors = [call.values.number(source) for source in sources]
    quants = {tensor.quant for tensor in tensors}
    quant = tensors[0].params if len(quants) == 1 else call.scales.of(call.node)
    call.inputs = [call.requantized(*pair, quant) for pair in zip(sources, tensors, strict=True)]
    return quant


def calibrated(call: Call) -> QuantParams:
    """The output is stored as TFLite prescribes, or as its values on representative data ask for."""
    call.inputs = [call.values.number(source) for source in call.node.inputs]
    return call.scales.of(call.node)


@dataclass(frozen=True)
class Lowering:
    """How a layer is written.

    Attributes:
        function: Writes it.
        int8: How int8 inputs and outputs are stored; `None` where it is float32 alone.
        bits: "moves" where bits and stored integers stay what they are, if they exist; "selects" where a
            maximum of bits is computed on bits; nothing where ±1 become numbers first.
        reads: Arguments of an operation of `keras.ops` that the function reads; others have to have
            their defaults.
        constants: Whether the function reads what is no tensor of the model in a call of an operation.
    """

    function: Function
    int8: Int8Rule | None = None
    bits: str = ""
    reads: tuple[str, ...] = ()
    constants: bool = False


LOWERINGS: dict[type, Lowering] = {}


def lowers(*kinds: type | str, **traits: Any) -> Callable[[Function], Function]:
    """Registers the function that writes layers, or operations of the fold or of `keras.ops`.

    Args:
        kinds: Classes, and names of functions of `keras.ops`.
        traits: The attributes of `Lowering`: `int8`, `bits`, `reads` and `constants`.
    """

    def register(function: Function) -> Function:
        for kind in kinds:
            found = operation_class(kind) if isinstance(kind, str) else kind
            LOWERINGS[found] = Lowering(function, **traits)
        return function

    return register


def lowers_each(parameters: dict[Any, Any], **traits: Any) -> Callable[[FunctionOfEach], FunctionOfEach]:
    """Registers a function of two arguments: a call, and what the dictionary has for its kind.

    Args:
        parameters: By class or name of a function of `keras.ops`, such as the name of an operator.
        traits: As for `lowers`.
    """

    def register(function: FunctionOfEach) -> FunctionOfEach:
        for kind, parameter in parameters.items():
            lowers(kind, **traits)(_bound(function, parameter))
        return function

    return register


def _bound(function: FunctionOfEach, parameter: Any) -> Function:
    return lambda call: function(call, parameter)


def operation_class(name: str) -> type:
    """The class of an operation of `keras.ops`, "add" say, which Keras does not make public."""
    function = getattr(keras.ops, name)
    camel = "".join(part.capitalize() for part in name.split("_"))
    return getattr(sys.modules[function.__module__], camel)


def computed_by(node: Node) -> tuple[Any, Any, str]:
    """What a node computes, what is fused taken off; its layer or operation; the name of the layer."""
    op: Any = node.op
    fused = isinstance(op, FusedActivation | FusedThreshold)
    inner, layer = (op.op, op.layer) if fused else (op, node.name)
    return inner, inner.operation if isinstance(inner, KerasCall) else inner, layer


def refuse_unknown(graph: Graph) -> None:
    """Refuses a model with a layer that `lowering_of` refuses, before anything is asked of its values.

    Raises:
        LoweringError: If nothing is known of the layer, or of an argument of an operation.
    """
    for node in graph.nodes():
        if isinstance(computed_by(node)[0], KerasCall):
            lowering_of(node)


def lowering_of(node: Node) -> Lowering:
    """How a node is written.

    Raises:
        LoweringError: If nothing is known of the layer, or of an argument of an operation.
    """
    inner, op, name = computed_by(node)
    kind = type(inner)
    if isinstance(inner, KerasCall):
        if inner.change is not None:
            raise LoweringError(
                f"Expected a layer whose computation is known. Received: {type(op).__name__} {name!r}: "
                f"{inner.change}. Write it with layers of Keras and keras.ops, or end the model before "
                "it and run the rest outside."
            )
        kind = inner.kind or kind
    found = LOWERINGS.get(kind)
    if found is None:
        raise LoweringError(_unknown(op, name, len(node.shape)))
    if isinstance(inner, KerasCall) and not isinstance(op, keras.layers.Layer):
        _check_arguments(op, name, found)
        if not found.constants and not inner.takes_tensors_alone:
            raise LoweringError(
                f"Expected an operation on tensors of the model alone. Received: {type(op).__name__} "
                f"{name!r} with a constant. Write it with other functions of keras.ops, or end the model "
                "before it and run the rest outside."
            )
    if isinstance(inner, KerasCall) and (_is_operation(type(op)) or kind is keras.layers.Concatenate):
        _check_batch(node, inner)
    return found


def _is_operation(kind: type) -> bool:
    return issubclass(kind, keras.Operation) and not issubclass(kind, keras.layers.Layer)


def _unknown(op: Any, name: str, rank: int) -> str:
    """The error for a layer or an operation that no function writes."""
    is_operation = _is_operation(type(op))
    wanted = _is_operation if is_operation else lambda kind: issubclass(kind, keras.layers.Layer)
    known = {kind.__name__ for kind in LOWERINGS if wanted(kind)}
    known |= set(functions.names()) if is_operation else set()
    remedy = "Replace it, or end the model before it and run the rest outside."
    if rank == 5:
        remedy = (
            "The targets have no kernels over three axes. Reshape two of them into one and use layers "
            "of two dimensions, or end the model before it and run the rest outside."
        )
    layer = functions.layer_class(type(op))
    if layer is not None:
        return (
            f"Expected a function of one float32 tensor and constants that {layer.__name__} computes as "
            f"well. Received: {type(op).__name__} {name!r} with other arguments. {remedy}"
        )
    return (
        f"Expected {'an operation' if is_operation else 'a layer'} that converts. Received: "
        f"{type(op).__name__} {name!r}. These do: {', '.join(sorted(known))}. {remedy}"
    )


#: A number of samples that no shape of a model is likely to have.
_BATCH = 97


def _check_batch(node: Node, inner: KerasCall) -> None:
    """Refuses what gives another number of samples than it gets: a file computes a sample alone."""
    first = node.inputs[0].shape[0] if node.inputs else None
    batch = _BATCH if first is None else first
    operation, name = inner.operation, computed_by(node)[2]
    tensors = [keras.KerasTensor((batch, *source.shape[1:])) for source in node.inputs]
    args, kwargs = keras.tree.map_structure(
        lambda x: tensors[x.index] if isinstance(x, Slot) else x, inner.arguments
    )
    try:
        outputs = keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))
        shapes = [tuple(output.shape) for output in outputs]
    except ValueError:
        shapes = []  # It depends on the number of samples.
    if not shapes or any(shape[:1] != (batch,) for shape in shapes):
        raise LoweringError(
            "Expected an operation that keeps the samples of a batch apart. Received: "
            f"{type(operation).__name__} {name!r}, which gives another number of them than it gets. "
            "Leave the first axis alone: axes from 1 on, keras.layers.Reshape in place of ops.reshape."
        )


def _check_arguments(op: Any, name: str, lowering: Lowering) -> None:
    """Refuses an operation with an argument that its function does not read."""
    for argument, parameter in inspect.signature(type(op).__init__).parameters.items():
        if argument in ("self", "name", *lowering.reads) or not hasattr(op, argument):
            continue
        value = getattr(op, argument)
        if value is not parameter.default and value != parameter.default:
            raise LoweringError(
                f"Expected an operation without the argument `{argument}`. Received: "
                f"{type(op).__name__} {name!r} with {argument}={value!r}. Write it with other functions "
                "of keras.ops, or end the model before it and run the rest outside."
            )

"""What a network costs: parameters, memory and multiply-accumulates, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_sbn.folding.computation import Traced, activation_layer, computed_class
from keras_sbn.folding.kinds import AUGMENTATION, RESHAPING, SELECTING, TRAINING_ONLY
from keras_sbn.folding.ops import KerasCall, Slot
from keras_sbn.interception import intercepting
from keras_sbn.layers import BinaryBatchNormalization, SelfBinarizingActivation
from keras_sbn.layers.base import SelfBinarizingKernelLayer, SelfBinarizingLayer
from keras_sbn.tables import format_table

Shape = tuple[int, ...]

#: Layers that compute nothing on values at inference, and leave ±1 where or what they are.
_KEEPING = TRAINING_ONLY | AUGMENTATION | RESHAPING

_BATCH_NORMALIZATIONS = (keras.layers.BatchNormalization, BinaryBatchNormalization)

#: A gain and an offset are left of a batch normalization's four vectors when it is deployed.
_FUSED = (("beta", "moving_mean"), ("gamma", "moving_variance"), ("log_gamma", "moving_variance"))


@dataclass(frozen=True)
class LayerSummary:
    """What one layer costs.

    Attributes:
        name: Name of the layer; in a nested model, after the model's name and a slash.
        kind: Name of its class.
        input_precision: Bits of its input, where the layer multiplies it: 1 or 32; `None` elsewhere.
        kernel_precision: Bits of its kernel: 1 or 32; `None` without a kernel.
        output_shape: Shape of its output with `None` for the batch; `None` if it has several.
        binary_parameters: Number of 1-bit parameters.
        float_parameters: Number of 32-bit parameters.
        trainable_parameters: Number of those that are trained.
        binary_macs: Multiply-accumulates of 1-bit input and 1-bit kernel, for one sample.
        float_macs: All others, for one sample; `None` where the layer is of a kind we cannot count.
    """

    name: str
    kind: str
    input_precision: int | None
    kernel_precision: int | None
    output_shape: tuple[int | None, ...] | None
    binary_parameters: int
    float_parameters: int
    trainable_parameters: int
    binary_macs: int
    float_macs: int | None

    @property
    def memory(self) -> int:
        """Bits of its parameters."""
        return self.binary_parameters + 32 * self.float_parameters


@dataclass(frozen=True)
class ModelSummary:
    """What a model costs; `print` shows it as a table.

    Attributes:
        name: Name of the model.
        layers: One `LayerSummary` a layer, in the order of execution.
    """

    name: str
    layers: tuple[LayerSummary, ...]

    @property
    def binary_parameters(self) -> int:
        """Number of 1-bit parameters."""
        return sum(layer.binary_parameters for layer in self.layers)

    @property
    def float_parameters(self) -> int:
        """Number of 32-bit parameters."""
        return sum(layer.float_parameters for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.binary_parameters + self.float_parameters

    @property
    def trainable_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(layer.trainable_parameters for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bits of all parameters."""
        return sum(layer.memory for layer in self.layers)

    @property
    def int8_memory(self) -> int:
        """Bits of all parameters, were the 32-bit ones 8 bits."""
        return self.binary_parameters + 8 * self.float_parameters

    @property
    def float_memory(self) -> int:
        """Bits of all parameters, were they all 32 bits."""
        return 32 * self.parameters

    @property
    def compression_ratio(self) -> float:
        """Memory as a share of what it would be in 32 bits, as in Larq; 1/32 is the smallest."""
        return self.memory / max(self.float_memory, 1)

    @property
    def binary_macs(self) -> int:
        """Multiply-accumulates of 1-bit numbers, for one sample."""
        return sum(layer.binary_macs for layer in self.layers)

    @property
    def float_macs(self) -> int:
        """All other multiply-accumulates that are counted, for one sample."""
        return sum(layer.float_macs or 0 for layer in self.layers)

    @property
    def macs(self) -> int:
        """All multiply-accumulates that are counted, for one sample."""
        return self.binary_macs + self.float_macs

    def __str__(self) -> str:
        header = (
            "layer",
            "input bits",
            "kernel bits",
            "output",
            "1-bit",
            "32-bit",
            "memory (KiB)",
            "1-bit MACs",
            "32-bit MACs",
        )
        rows = [
            (
                layer.name,
                layer.input_precision or "-",
                layer.kernel_precision or "-",
                "multiple" if layer.output_shape is None else str(layer.output_shape),
                layer.binary_parameters,
                layer.float_parameters,
                f"{layer.memory / 8192:.2f}",
                layer.binary_macs,
                "?" if layer.float_macs is None else layer.float_macs,
            )
            for layer in self.layers
        ]
        total = (
            *("total", "", "", ""),
            *(self.binary_parameters, self.float_parameters, f"{self.memory / 8192:.2f}"),
            *(self.binary_macs, self.float_macs),
        )
        table = format_table(header, [*rows, total], "lrrlrrrrr").split("\n")
        table.insert(-1, table[1])
        totals = format_table(
            (self.name, ""),
            [
                ("parameters", f"{self.parameters:,}"),
                ("trainable parameters", f"{self.trainable_parameters:,}"),
                ("non-trainable parameters", f"{self.parameters - self.trainable_parameters:,}"),
                ("size", _bytes(self.memory)),
                ("size with 8-bit for 32-bit", _bytes(self.int8_memory)),
                ("size in 32-bit floats", _bytes(self.float_memory)),
                ("compression ratio", f"{self.compression_ratio:.4f}"),
                ("multiply-accumulates", f"{self.macs:,}"),
                ("share of them in 1 bit", f"{self.binary_macs / max(self.macs, 1):.4f}"),
            ],
            "lr",
        )
        return "\n".join(table) + "\n\n" + totals


def summary(model: Any, input_shape: Any = None) -> ModelSummary:
    """Counts parameters, memory and multiply-accumulates of `model`, layer by layer.

    The numbers are those of the deployed network, as Larq counts them: a self-binarizing kernel has
    1-bit parameters, the sharpness is none, and of a batch normalization's four vectors two remain. A
    multiply-accumulate is binary if kernel and input are: the input of a layer is binary if the layer
    binarizes it, or if it comes from a `SelfBinarizingActivation` through layers and functions that only
    move or pick values (max-pooling, concatenation, reshape, ...). A layer used several times has its
    parameters counted once and its operations each time.

    The model is traced once without being computed, so subclassed and nested models work too.

    Args:
        model: A built Keras model.
        input_shape: Shape of the input without the batch dimension, or a list of shapes; needed where
            the model does not know it, or has sizes that vary.

    Returns:
        A `ModelSummary`; `print` shows it as a table.

    Raises:
        ValueError: If the input shape is not known.

    Source: `larq.models.summary`, with the same parameters, memory and operations.

    Example:

    >>> model = keras.Sequential([keras.Input((64,)), keras_sbn.layers.SelfBinarizingDense(32)])
    >>> keras_sbn.summary(model).binary_parameters
    2048
    """
    names = {id(layer): name for name, layer in _leaves(model)}
    operations = {id(layer): layer for _, layer in _leaves(model)} | _functions(model)
    # Asked now: a method that is intercepted is one that was replaced.
    kinds = {key: computed_class(operation) for key, operation in operations.items()}
    recorder = _Recorder(names, kinds)
    inputs = _one_sample(model, input_shape)
    with (
        intercepting(operations.values(), recorder.call_and_record),
        intercepting(_graphs(model), recorder.convert_and_follow, "_convert_inputs_to_tensors"),
    ):
        Traced(lambda x: model(x, training=False)).compute_output_spec(inputs)
    return ModelSummary(model.name, tuple(_row(call) for call in recorder.calls.values()))


@dataclass
class _Calls:
    """What was seen of one layer: a pair of input and output shape a call."""

    name: str
    layer: Any
    input_precision: int = 1
    shapes: list[tuple[Shape, Shape]] = field(default_factory=list)


class _Recorder:
    """Follows binary tensors through the layers of a model while it is called."""

    def __init__(self, names: dict[int, str], kinds: dict[int, type | None]) -> None:
        self.calls: dict[int, _Calls] = {}
        self._names, self._kinds = names, kinds
        # The tensors themselves are kept beside their ids, so that no id is used twice.
        self.binary: dict[int, Any] = {}

    def call_and_record(self, operation: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        given = keras.tree.flatten((args, kwargs))
        if id(operation) in self._names:
            self._record(operation, given[0] if given else None, keras.tree.flatten(outputs))
        if _ends_in_sign(operation) or self._keeps(operation, args, kwargs):
            self.binary |= {id(output): output for output in keras.tree.flatten(outputs)}
        return outputs

    def convert_and_follow(self, graph: Any, convert: Any, inputs: list[Any]) -> Any:
        """A model's graph makes tensors of its inputs, on PyTorch other ones."""
        outputs = convert(inputs)
        pairs = zip(inputs, outputs, strict=True)
        self.binary |= {id(output): output for x, output in pairs if id(x) in self.binary}
        return outputs

    def _record(self, layer: Any, x: Any, outputs: list[Any]) -> None:
        is_binary = id(x) in self.binary or getattr(layer, "binarize_input", False)
        seen = self.calls.setdefault(id(layer), _Calls(self._names[id(layer)], layer))
        seen.input_precision = max(seen.input_precision, 1 if is_binary else 32)
        shape = _without_batch(x) if hasattr(x, "shape") else ()
        seen.shapes += [(shape, _without_batch(output)) for output in outputs]

    def _keeps(self, operation: Any, args: Any, kwargs: Any) -> bool:
        """Whether a layer or a function gives values of ±1 that it gets, and no others."""
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if keras.ops.is_tensor(x)]
        if not tensors or any(id(x) not in self.binary for x in tensors):
            return False
        kind = self._kinds[id(operation)]
        if kind is None or kind in _KEEPING:
            return kind is not None
        condition = SELECTING.get(kind)
        arguments = keras.tree.map_structure(
            lambda x: Slot(0) if id(x) in self.binary else x, (args, kwargs)
        )
        return condition is not None and condition(KerasCall(operation, arguments))


def _ends_in_sign(layer: Any) -> bool:
    """Whether a layer is a self-binarizing activation, or calls one as its own activation."""
    while (activation := activation_layer(layer)) is not None:
        layer = activation
    return isinstance(layer, SelfBinarizingActivation)


def _row(calls: _Calls) -> LayerSummary:
    layer = calls.layer
    binary, floats, trainable = 0, 0, 0
    kernels: dict[int, list[int]] = {1: [], 32: []}
    trained = {id(weight) for weight in layer.trainable_weights}
    for part, weight in _deployed_weights(layer):
        count = math.prod(weight.shape)
        bits = 32
        if weight.name.endswith("kernel"):
            bits = 1 if _has_binary_kernel(part) else 32
            kernels[bits].append(count)
        if bits == 1:
            binary += count
        else:
            floats += count
        trainable += count * (id(weight) in trained)
    output_shapes = {output for _, output in calls.shapes}
    kernel_precision = max((bits for bits, counts in kernels.items() if counts), default=None)
    macs = _macs(calls, sum(kernels[1] + kernels[32]))
    is_binary = kernel_precision == 1 and calls.input_precision == 1
    return LayerSummary(
        name=calls.name,
        kind=type(layer).__name__,
        input_precision=calls.input_precision if kernel_precision else None,
        kernel_precision=kernel_precision,
        output_shape=(None, *output_shapes.pop()) if len(output_shapes) == 1 else None,
        binary_parameters=binary,
        float_parameters=floats,
        trainable_parameters=trainable,
        binary_macs=(macs or 0) if is_binary else 0,
        float_macs=0 if is_binary else macs,
    )


def _macs(calls: _Calls, kernel_size: int) -> int | None:
    """Every kernel value is used once at every position: of the output, or of a transposed input."""
    layer = calls.layer
    kind = type(layer).__name__
    if "Conv" in kind and kernel_size and hasattr(layer, "data_format"):
        spatial = slice(0, -1) if layer.data_format == "channels_last" else slice(1, None)
        which = 0 if "Transpose" in kind else 1
        return sum(kernel_size * math.prod(shapes[which][spatial]) for shapes in calls.shapes)
    if isinstance(layer, keras.layers.Dense) or (kind == "SelfBinarizingDense"):
        return sum(kernel_size * math.prod(output[:-1]) for _, output in calls.shapes)
    if not _deployed_weights(layer) or isinstance(layer, (*_BATCH_NORMALIZATIONS, SelfBinarizingLayer)):
        return 0
    return None


def _has_binary_kernel(layer: Any) -> bool:
    return isinstance(layer, SelfBinarizingKernelLayer) and layer.binarize_kernel


def _deployed_weights(layer: Any) -> list[tuple[Any, Any]]:
    """The weights of a layer and of the layers in it, each with its own, that are left when deployed."""
    found = [(part, weight) for part in layer._flatten_layers() for weight in _own_deployed_weights(part)]
    # Generators of random numbers are state of the training, not parameters.
    return [(part, weight) for part, weight in found if "seed_generator" not in weight.path]


def _own_deployed_weights(layer: Any) -> list[Any]:
    inside = {id(w) for part in layer._flatten_layers(include_self=False) for w in part.weights}
    if isinstance(layer, SelfBinarizingLayer):
        inside |= {id(weight) for weight in layer.sharpness_weights}
    weights = {weight.name: weight for weight in layer.weights if id(weight) not in inside}
    if isinstance(layer, _BATCH_NORMALIZATIONS):
        weights.pop("accumulated_batches", None)  # state of the training
        for trained, moving in _FUSED:
            if trained in weights and moving in weights:
                del weights[trained]
    return list(weights.values())


def _leaves(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def _graphs(model: Any) -> list[Any]:
    """The graphs of a model and of those in it: Functional models, and those within Sequential ones."""
    models = [part for part in model._flatten_layers() if isinstance(part, keras.Model)]
    found = {id(x): x for x in (getattr(part, "_functional", None) or part for part in models)}
    return [graph for graph in found.values() if hasattr(graph, "_convert_inputs_to_tensors")]


def _functions(model: Any) -> dict[int, Any]:
    """The functions of `keras.ops` in the graphs of a model, by their ids."""
    operations = [operation for graph in _graphs(model) for operation in graph.operations]
    return {id(x): x for x in operations if not isinstance(x, keras.layers.Layer)}


def _one_sample(model: Any, input_shape: Any) -> Any:
    """Symbolic inputs of one sample."""
    try:
        tensors = model.inputs
    except (AttributeError, ValueError):
        tensors = None
    if input_shape is None and tensors is None:
        built = getattr(model, "_build_shapes_dict", None) or {}
        shape = next(iter(built.values()), None)
        input_shape = None if shape is None else tuple(shape)[1:]
    if input_shape is not None:
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        dtypes = [t.dtype for t in tensors] if tensors else ["float32"] * len(shapes)
    else:
        shapes = [tuple(tensor.shape)[1:] for tensor in tensors or []]
        dtypes = [tensor.dtype for tensor in tensors or []]
    if not shapes or any(size is None for shape in shapes for size in shape):
        raise ValueError(
            "Expected a model that knows the shape of its input. Received: "
            f"{model.name!r} with {shapes or 'none'}; give `input_shape`, without the batch dimension."
        )
    samples = [keras.KerasTensor((1, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    if tensors is not None and len(tensors) > 1:
        return keras.tree.pack_sequence_as(model.input, samples)
    return samples[0] if len(samples) == 1 else samples


def _without_batch(tensor: Any) -> Shape:
    return tuple(int(size) for size in tensor.shape[1:]) if hasattr(tensor, "shape") else ()


def _bytes(bits: int) -> str:
    size = bits / 8
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.2f} {unit}"
        size /= 1024
    return f"{size:,.2f} GiB"

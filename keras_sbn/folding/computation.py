"""What a layer computes: the one question that every rule and every lowering asks.

A layer is known by its exact computation and not by what it inherits from. A class of Keras or of this
package computes what its source says. A subclass of it computes the same as long as it changes nothing
that takes part in the computation: new arguments, names, weights of other sizes. One that defines `call`,
`convolution_op` or any other attribute that the base class has computes something else, and nothing may
be assumed of it. The same holds for an attribute of a base class that is replaced on the instance, for a
layer that Keras itself has quantized, and for a call with arguments that change what is computed, such
as `training=True`.

So the names that may be defined anew are listed here, and every other name is a change: what Keras adds
in a later version is refused until it is known.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import keras

from keras_sbn.layers.base import SelfBinarizingKernelLayer
from keras_sbn.layers.batch_normalization import BinaryBatchNormalization

#: What a subclass may define without changing what the layer computes from its weights and arguments.
_HARMLESS = frozenset(
    {
        "__annotations__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__init__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__qualname__",
        "__repr__",
        "__static_attributes__",
        "__str__",
        "__weakref__",
        "_abc_impl",
        "build",
        "build_from_config",
        "compute_output_shape",
        "compute_output_spec",
        "from_config",
        "get_build_config",
        "get_config",
        "load_own_variables",
        "save_own_variables",
    }
)
#: What Keras itself replaces on every instance, by a function that calls the class's own.
_WRAPPED_BY_KERAS = frozenset({"build", "quantize"})
#: What a subclass of Functional or Sequential computes with; the rest is training, saving and printing.
_COMPUTING = (
    "__call__",
    "call",
    "_adjust_input_rank",
    "_convert_inputs_to_tensors",
    "_run_through_graph",
    "_standardize_inputs",
)
#: Layers of Keras that call their activation last, on one tensor.
_ACTIVATION_LAST = frozenset(
    {
        keras.layers.Activation,
        keras.layers.Conv1D,
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2D,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3D,
        keras.layers.Conv3DTranspose,
        keras.layers.Dense,
        keras.layers.DepthwiseConv1D,
        keras.layers.DepthwiseConv2D,
        keras.layers.EinsumDense,
        keras.layers.SeparableConv1D,
        keras.layers.SeparableConv2D,
    }
)
_OWN_PACKAGES = ("keras.", "keras_sbn.")


def base_class(operation: Any) -> type:
    """The class of Keras or of this package that an operation is, or derives from."""
    return next(cls for cls in type(operation).__mro__ if is_known_class(cls))


def computed_class(operation: Any) -> type | None:
    """The class of Keras or of this package whose computation an operation has.

    Args:
        operation: A layer, or an operation of `keras.ops`.

    Returns:
        The class, by which tables look an operation up; `None` where nothing can be assumed, for which
        `change_of` has the words.
    """
    return base_class(operation) if change_of(operation) is None else None


def runs_own_code(operation: Any) -> bool:
    """Whether an operation computes with code of a class that is not one of Keras or of this package."""
    return _own_code(operation) is not None


def change_of(operation: Any) -> str | None:
    """What makes an operation compute otherwise than its class of Keras or of this package does.

    Returns:
        Words such as "class StandardizedConv2D defines its own convolution_op", or `None` where nothing
        does.
    """
    found = _own_code(operation)
    if found is not None:
        return found
    mode = getattr(operation, "quantization_mode", None)
    if mode is not None:
        return f"Keras quantized it to {mode}, which rounds its inputs anew for every batch"
    return None


def change_of_model(model: Any) -> str | None:
    """What makes a model compute otherwise than its layers, one after the other, do.

    Returns:
        Words such as "of class Scaled, which defines its own call", or `None` where nothing does.
    """
    for name in _COMPUTING:
        if name in vars(model):
            return f"on which {name} was replaced"
    # With PyTorch, classes of Keras derive from one of its own.
    known = base_class(model).__mro__
    for cls in type(model).__mro__:
        if cls in known or is_known_class(cls):
            continue
        for name in _COMPUTING:
            if name in vars(cls):
                return f"of class {cls.__name__}, which defines its own {name}"
    return None


def activation_layer(operation: Any) -> Any:
    """The activation of a layer that is a layer itself, and makes its output; `None` otherwise.

    As in ``Conv2D(8, 3, activation=keras.layers.PReLU())``. Recurrent layers have activations as well,
    but compute more behind them.
    """
    activation = getattr(operation, "activation", None)
    if not isinstance(activation, keras.layers.Layer):
        return None
    known = base_class(operation)
    last = known in _ACTIVATION_LAST or issubclass(known, SelfBinarizingKernelLayer)
    return activation if last else None


def weights_without_activation(layer: Any) -> list[Any]:
    """The weights of a layer, in their order, but those of the layer that is its activation."""
    activation = getattr(layer, "activation", None)
    others = activation.weights if isinstance(activation, keras.layers.Layer) else []
    of_activation = {id(weight) for weight in others}
    return [weight for weight in layer.weights if id(weight) not in of_activation]


def takes(layer: Any, name: str) -> bool:
    """Whether the computation of a layer has an argument, such as "training" or "mask"."""
    return name in inspect.signature(layer.call).parameters


def trains_by_default(layer: Any) -> bool:
    """Whether a layer records training mode for every call, as those that augment images do.

    A model that is run for inference says so to its layers, whatever their calls record.
    """
    return inspect.signature(layer.call).parameters["training"].default is True


def ignores_mask(operation: Any) -> bool:
    """Whether a layer takes a mask for training alone: batch normalization, for its statistics."""
    known = computed_class(operation)
    return known in (keras.layers.BatchNormalization, BinaryBatchNormalization)


def averages(kind: type | None) -> bool:
    """Whether a class is one of Keras's average pools with a window."""
    pools = (
        keras.layers.AveragePooling1D,
        keras.layers.AveragePooling2D,
        keras.layers.AveragePooling3D,
    )
    return kind in pools


def operation_class(function: Any, *arguments: Any) -> type:
    """The class of the operation that a function of `keras.ops` records when a model calls it.

    Args:
        function: The function, such as `keras.ops.add`.
        *arguments: Arguments that it takes, a `keras.KerasTensor` among them.
    """
    (output, *_) = keras.tree.flatten(function(*arguments))
    found: type = type(output._keras_history.operation)
    return found


class Traced(keras.layers.Layer):
    """A layer around a function: its `compute_output_spec` runs the function without computing."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def output_dtype(operation: Any, args: Any, kwargs: Any) -> str | None:
    """The type of the first tensor that a call gives, or `None` where this backend cannot compute it.

    It is traced: what Keras notes for the output of a layer is the layer's dtype policy, also where the
    layer computes in the type of an input of integers.

    Args:
        operation: A layer, or an operation of `keras.ops`.
        args: Its arguments, with a `keras.KerasTensor` for every tensor.
        kwargs: Likewise.
    """
    tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]

    def call(given: Any) -> Any:
        left = iter(given)
        own_args, own_kwargs = keras.tree.map_structure(
            lambda x: next(left) if isinstance(x, keras.KerasTensor) else x, (args, kwargs)
        )
        return operation(*own_args, **own_kwargs)

    try:
        found = keras.tree.flatten(Traced(call).compute_output_spec(tensors))
    except Exception:  # Backends have no type of error in common for types that they do not compute with.
        return None
    # `ops.ndim` gives a plain number.
    dtype = getattr(found[0], "dtype", None) if found else None
    return None if dtype is None else str(keras.backend.standardize_dtype(dtype))


def plain_copy(layer: Any, **changes: Any) -> Any:
    """A layer of the class whose computation `layer` has, with its arguments, some of them changed.

    The copy is not built. A subclass that only fixes arguments cannot be made from its own configuration
    in general: its constructor need not take what `get_config` returns. Functions, and objects without
    weights, are the same in the copy, whether Keras can write them into a file or not.
    """
    known = base_class(layer)
    same = {name: value for name, value in vars(layer).items() if _is_function(name, value)}
    # What Keras asks for the configuration is not the layer, whose functions it may not be able to name.
    asked = object.__new__(type(layer))
    asked.__dict__.update(vars(layer))
    for name in same:
        asked.__dict__[name] = keras.activations.linear if name.endswith("activation") else None
    config = known.get_config(asked)  # type: ignore[attr-defined]
    for name, value in config.items():
        if name.endswith("activation") and isinstance(value, dict):
            # A layer, which Keras before 3.10 does not make again itself; its error is better than ours.
            with contextlib.suppress(TypeError, ValueError):
                config[name] = keras.saving.deserialize_keras_object(value)
    # Attributes such as `_kernel_initializer` hold the argument without the underscore.
    given = {name.lstrip("_"): value for name, value in same.items() if name.lstrip("_") in config}
    return known.from_config({**config, **given, **changes})  # type: ignore[attr-defined]


def _is_function(name: str, value: Any) -> bool:
    suffixes = ("activation", "_initializer", "_regularizer", "_constraint")
    return value is not None and name.endswith(suffixes) and not isinstance(value, keras.layers.Layer)


def is_known_class(cls: type) -> bool:
    """Whether a class is one of Keras or of this package."""
    return cls is object or cls.__module__.startswith(_OWN_PACKAGES) or cls.__module__ == "keras"


def _own_code(operation: Any) -> str | None:
    known = base_class(operation)
    if known in (keras.layers.Layer, keras.Operation, object):
        return f"class {type(operation).__name__} is not one of Keras"
    for cls in type(operation).__mro__:
        if cls in known.__mro__:
            continue
        for name in vars(cls):
            if name not in _HARMLESS and hasattr(known, name):
                return f"class {cls.__name__} defines its own {name}"
    replaced = replaced_on(operation)
    return None if replaced is None else f"its {replaced} was replaced on the instance"


def replaced_on(operation: Any) -> str | None:
    """The name of a method of its class that was replaced on an operation, if one was."""
    known = base_class(operation)
    for name in vars(operation) if hasattr(operation, "__dict__") else ():
        if callable(getattr(known, name, None)) and name not in _WRAPPED_BY_KERAS:
            return name
    return None

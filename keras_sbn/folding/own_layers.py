"""Layers of one's own, read as what they call: Keras's layers and functions of `keras.ops`.

A layer whose class is not one of Keras may compute anything. Most of them compute with layers and
functions that are known: a block of several layers, a scale a channel, a `Lambda`. Keras itself can call
such a layer on a `keras.KerasTensor`, which records what it calls in place of computing. So the call is
traced once, in inference mode, and what was recorded takes the place of the layer.

A trace shows what was called that once. A layer that computes otherwise in another call, because it draws
random numbers, counts its calls, or asks for the size of a batch, is not what was recorded. Therefore the
layer and the recorded graph are both run on the same random inputs, and the layer is read only where
every value is the same. A layer that changes a weight while it is traced is not read either.

A graph that is to be trained needs more: that the layer calls the same in training, that no weight of its
own takes part, which would become a constant, and that it adds no loss.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.computation import (
    base_class,
    change_of,
    change_of_model,
    operation_class,
    takes,
    trains_by_default,
)
from keras_sbn.interception import intercepting, intercepting_class
from keras_sbn.structures import input_structure

#: Classes of one's own that derive from one of these have nothing but their own computation.
_BASES = (keras.layers.Layer, keras.Operation)
#: The layers that belong to one network of `keras.applications`, as a scale a channel.
_APPLICATIONS = "keras.src.applications."
#: Samples of the inputs on which a layer and what was recorded are compared.
_SAMPLES = (1, 3)
#: A size of an axis that the model leaves open.
_OPEN_AXIS = 32
_RESHAPE: Any = operation_class(ops.reshape, keras.KerasTensor((2, 1)), (2,))
#: Those in which Keras writes parts of its errors.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: The class of Keras that every weight derives from; `keras.Variable` is none of theirs in Keras 3.4.
_Weight = [cls for cls in keras.Variable.__mro__ if cls.__module__.startswith("keras.")][-1]
#: The operators of a weight, which Keras computes at once where the weight stands on the left.
_OPERATORS = {
    "__add__": ops.add,
    "__eq__": ops.equal,
    "__floordiv__": ops.floor_divide,
    "__ge__": ops.greater_equal,
    "__gt__": ops.greater,
    "__le__": ops.less_equal,
    "__lt__": ops.less,
    "__matmul__": ops.matmul,
    "__mod__": ops.mod,
    "__mul__": ops.multiply,
    "__ne__": ops.not_equal,
    "__pow__": ops.power,
    "__sub__": ops.subtract,
    "__truediv__": ops.true_divide,
}


class NotReadError(Exception):
    """Why a layer cannot be read, in words that go on after "and"."""


def is_ones_own(operation: Any) -> bool:
    """Whether an operation may be read as what it calls: nothing else is known of it."""
    if isinstance(operation, keras.Model):
        is_graph = isinstance(operation, keras.Sequential) or hasattr(operation, "_nodes_by_depth")
        return not is_graph or change_of_model(operation) is not None
    known = base_class(operation)
    if known.__module__.startswith(_APPLICATIONS) or known is keras.layers.Lambda:
        return change_of(operation) is None
    return known in _BASES and type(operation) is not known


@contextlib.contextmanager
def recorded(operation: Any, arguments: Any, dtypes: Any, to_train: bool) -> Iterator[Any]:
    """What a layer calls, as a Functional model that is there within the context.

    Args:
        operation: A layer or an operation that `is_ones_own`.
        arguments: The nested `(args, kwargs)` of its call, with a `keras.KerasTensor` for every tensor.
        dtypes: The types of these tensors.
        to_train: Whether the model is to be trained. Its calls have `training=True` where the layer says
            so in training.

    Yields:
        The model, with an input for every tensor of the arguments.

    Raises:
        NotReadError: If the call cannot be recorded, or the layer does not compute what was recorded.
    """
    args, kwargs = arguments
    is_layer = isinstance(operation, keras.layers.Layer)
    by_default = is_layer and takes(operation, "training") and trains_by_default(operation)
    if is_layer and kwargs.get("training") and not by_default:
        raise NotReadError("it is called with training=True")

    def in_mode(training: bool) -> Any:
        return (args, {**kwargs, "training": training}) if is_layer else arguments

    with _calls_forgotten(operation):
        functional = _recorded(operation, in_mode(False), dtypes)
        _compare(operation, in_mode(False), functional)
        if to_train:
            if any(isinstance(x, _Weight) for x in _arguments_of(_calls(functional))):
                raise NotReadError("its own weights take part, which are to be trained")
            trained = _recorded(operation, in_mode(True), dtypes)
            if getattr(operation, "activity_regularizer", None) is not None:
                raise NotReadError("it adds a loss in training")
            if not _same_calls(functional, trained):
                raise NotReadError("it computes otherwise in training")
            functional = trained
        yield functional


@contextlib.contextmanager
def called_on_inputs(model: Any) -> Iterator[Any]:
    """A model that `is_ones_own` as the only call of a Functional one, which is there within the context.

    Raises:
        ValueError: If it is not known what the model takes, or it cannot be called.
    """
    structure = input_structure(model)
    if structure is None:
        structure = _built_on(model)
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=(None, *x.shape[1:]), dtype=x.dtype, name=x.name), structure
    )
    with _calls_forgotten(model):
        yield keras.Model(inputs, model(inputs))


def _built_on(model: Any) -> Any:
    """The tensor that a subclassed model was called with first."""
    shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())
    name, *others = inspect.signature(model.call).parameters.values()
    needed = [x.name for x in others if x.default is x.empty and x.kind is x.POSITIONAL_OR_KEYWORD]
    is_one = len(shapes) == 1 and isinstance(shapes[0], list | tuple) and not needed
    if not is_one or not all(size is None or isinstance(size, int) for size in shapes[0]):
        raise ValueError(
            "Expected a model of which it is known what it takes. Received: subclassed model "
            f"{model.name!r} of class {type(model).__name__}, "
            + ("called with more than one tensor" if shapes else "which was not called yet")
            + ". Call it on inputs of the Functional API: x = keras.Input(shape); "
            "model = keras.Model(x, model(x))."
        )
    return keras.KerasTensor(shapes[0], model.input_dtype, name=name.name)


def constant_of(value: Any) -> Any:
    """An argument of a call: an array in the place of a weight or of a tensor of the backend."""
    is_tensor = isinstance(value, _Weight) or ops.is_tensor(value)
    return ops.convert_to_numpy(value) if is_tensor else value


def _recorded(operation: Any, arguments: Any, dtypes: Any) -> Any:
    """What a call calls, as a Functional model."""
    tensors = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
    if any(getattr(x, "_keras_mask", None) is not None for x in tensors):
        raise NotReadError("it is called with a mask")
    policy = getattr(operation, "dtype_policy", None)
    if policy is not None and policy.compute_dtype != policy.variable_dtype:
        raise NotReadError(f"it computes in {policy.compute_dtype}")
    inputs = [
        keras.Input(batch_shape=x.shape, dtype=dtype) for x, dtype in zip(tensors, dtypes, strict=True)
    ]
    args, kwargs = _with(arguments, inputs)
    operators = intercepting_class(_Weight, _OPERATORS, _operator_of_a_weight)
    reshapes = intercepting_class(_RESHAPE, ("compute_output_spec",), _reshaped)
    with keras.StatelessScope() as scope, operators, reshapes:
        try:
            outputs = keras.tree.flatten(_called(operation, args, kwargs))
        except Exception as error:
            raise NotReadError(
                f"its call is not made of layers and functions of keras.ops alone ({_first_words(error)})"
            ) from error
        if scope.state_mapping:
            raise NotReadError("its call changes a weight, or draws random numbers")
    if not outputs or not all(isinstance(x, keras.KerasTensor) for x in outputs):
        raise NotReadError("it gives something else than tensors")
    if any(getattr(x, "_keras_mask", None) is not None for x in outputs):
        raise NotReadError("it gives a mask")
    try:
        return keras.Model(inputs, outputs)
    except ValueError as error:
        raise NotReadError("it does not use all of its inputs") from error


def _reshaped(own: Any, name: str, operation: Any, x: Any) -> Any:
    """The shape of a symbolic ``reshape(x, (ops.shape(x)[0], -1))``, with -1 for the batch.

    The size of a symbolic batch is `None`, which stands for no number when the recorded graph runs.
    """
    sizes = list(operation.newshape) if isinstance(operation.newshape, list | tuple) else []
    if sizes[:1] == [None] and None not in (*sizes[1:], *x.shape[1:]):
        if -1 in sizes:
            known = math.prod(size for size in sizes[1:] if size != -1)
            sizes[sizes.index(-1)] = math.prod(x.shape[1:]) // max(known, 1)
        operation.newshape = (-1, *sizes[1:])
    return own(operation, x)


def _first_words(error: Exception) -> str:
    """The type of an error, and the first line of it that says more than where it came from."""
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _operator_of_a_weight(own: Any, name: str, weight: Any, other: Any) -> Any:
    """``weight * x``, recorded as ``x * weight`` is where x is symbolic."""
    return (_OPERATORS[name] if isinstance(other, keras.KerasTensor) else own)(weight, other)


def _called(operation: Any, args: Any, kwargs: Any) -> Any:
    """What the call of an operation gives on symbolic inputs, with the history of what it has called."""
    if not isinstance(operation, keras.layers.Layer):
        return operation.call(*args, **kwargs)
    found: list[Any] = []

    def call(layer: Any, _: Any, *own_args: Any, **own_kwargs: Any) -> Any:
        outputs = layer.call(*own_args, **own_kwargs)
        found.append(outputs)
        # Keras writes the layer itself into the history of what it gets.
        return keras.tree.map_structure(_without_history, outputs)

    # In place of asking for shapes alone, as Keras does for symbolic inputs; all that it does around
    # the call (types, modes, masks) stays as it is.
    with intercepting([operation], call, "symbolic_call"):
        operation(*args, **kwargs)
    (outputs,) = found
    return outputs


def _without_history(x: Any) -> Any:
    return keras.KerasTensor(x.shape, x.dtype) if isinstance(x, keras.KerasTensor) else x


def _with(arguments: Any, tensors: Any) -> Any:
    """The arguments with these tensors."""
    left = iter(tensors)
    args, kwargs = keras.tree.map_structure(
        lambda x: next(left) if isinstance(x, keras.KerasTensor) else x, arguments
    )
    return args, kwargs


def _calls(functional: Any) -> list[Any]:
    """The calls of a model, in an order that depends on its graph alone."""
    depths = sorted(functional._nodes_by_depth, reverse=True)
    return [call for depth in depths for call in functional._nodes_by_depth[depth] if not call.is_input]


def _arguments_of(calls: list[Any]) -> list[Any]:
    return keras.tree.flatten([(call.arguments.args, call.arguments.kwargs) for call in calls])


def _same_calls(some: Any, others: Any) -> bool:
    """Whether two traces of a layer call the same on the same values, but for the mode of the calls."""
    first, second = _as_called(some), _as_called(others)
    return len(first) == len(second) and all(map(_equal, first, second))


def _as_called(functional: Any) -> list[Any]:
    """Everything that makes a traced graph, in order: its calls, their arguments, and the outputs.

    A value is the number of the call that gives it and its place in there; an input has number -1.
    """
    places = {id(tensor): (-1, index) for index, tensor in enumerate(functional.inputs)}
    made: list[Any] = []
    for number, call in enumerate(_calls(functional)):
        operation = call.operation
        kwargs = {name: value for name, value in call.arguments.kwargs.items() if name != "training"}
        is_layer = isinstance(operation, keras.layers.Layer)
        made.append(operation if is_layer else type(operation))
        settings = {} if is_layer else _settings(operation)
        for x in keras.tree.flatten((call.arguments.args, kwargs, settings)):
            made.append(places[id(x)] if isinstance(x, keras.KerasTensor) else constant_of(x))
        places |= {id(tensor): (number, index) for index, tensor in enumerate(call.outputs)}
    return [*made, *(places[id(tensor)] for tensor in functional.outputs)]


def _settings(operation: Any) -> dict[str, Any]:
    """What a function of `keras.ops` was called with beside tensors."""
    return {name: value for name, value in vars(operation).items() if name[0] != "_" and name != "name"}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(a == b)


def _compare(operation: Any, arguments: Any, functional: Any) -> None:
    """Raises a NotReadError where the layer gives other values than what was recorded."""
    rng = np.random.default_rng(0)
    for samples in _SAMPLES:
        given = [_random(rng, x, samples) for x in functional.inputs]
        args, kwargs = _with(arguments, given)
        try:
            expected = keras.tree.flatten(operation(*args, **kwargs))
            found = keras.tree.flatten(functional(given if len(given) > 1 else given[0], training=False))
        except Exception as error:
            raise NotReadError(f"it cannot be called on random inputs ({_first_words(error)})") from error
        same = len(found) == len(expected) and all(
            np.array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), equal_nan=True)
            for a, b in zip(found, expected, strict=True)
        )
        if not same:
            raise NotReadError("it computes something else than what was recorded of its call")


def _random(rng: np.random.Generator, tensor: Any, samples: int) -> Any:
    shape = [_OPEN_AXIS if size is None else size for size in tensor.shape]
    shape[0] = samples if tensor.shape[0] is None else tensor.shape[0]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if keras.backend.is_float_dtype(dtype):
        return ops.convert_to_tensor(rng.normal(size=shape), dtype)
    return ops.convert_to_tensor(rng.integers(0, 2, shape), dtype)


@contextlib.contextmanager
def _calls_forgotten(operation: Any) -> Iterator[None]:
    """Afterwards the layers within have no more calls than before."""
    within = operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else [operation]
    lists = [calls for one in within for calls in (one._inbound_nodes, one._outbound_nodes)]
    lengths = [len(calls) for calls in lists]
    try:
        yield
    finally:
        for calls, length in zip(lists, lengths, strict=True):
            del calls[length:]

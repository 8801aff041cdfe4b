"""Copies of Keras layers and operations that compute what the originals do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sbn.folding.computation import plain_copy, replaced_on, runs_own_code


def copy_of(operation: Any, name: str) -> tuple[Any, Callable[[], None] | None]:
    """Returns a copy of a layer or an operation, and what gives it its state once it is built.

    Args:
        operation: A built layer, or an operation of `keras.ops`.
        name: The name of the copy.

    Raises:
        ValueError: If the layer cannot be made from its own configuration.
    """
    if not isinstance(operation, keras.layers.Layer):
        return _operation(operation, name), None
    copy = _layer(operation, name)
    copy.trainable = False
    return copy, lambda: _copy_state(operation, copy)


def _operation(operation: Any, name: str) -> Any:
    """An operation has no state but its arguments, and the calls of it, which the copy has not."""
    copy = object.__new__(type(operation))
    copy.__dict__.update(operation.__dict__)
    copy._inbound_nodes, copy._outbound_nodes = [], []
    copy.name = name
    return copy


def _layer(layer: Any, name: str) -> Any:
    expected = f"Expected layer {layer.name!r} of class {type(layer).__name__}"
    replaced = replaced_on(layer)
    if replaced is not None:
        raise ValueError(
            f"{expected} to compute what its class does. Received a layer whose {replaced} was replaced "
            "on the instance. Define a subclass that overrides it."
        )
    try:
        if not runs_own_code(layer):
            return plain_copy(layer, name=name)
        config = layer.get_config()
        copy = type(layer).from_config(config | {"name": name} if "name" in config else config)
        copy.name = name
        return copy
    except Exception as error:
        raise ValueError(
            f"{expected} to be made again from its own configuration. Received: {type(error).__name__}: "
            f"{error} {_remedy(error)}"
        ) from error


def _remedy(error: Exception) -> str:
    if "interpret activation function identifier" in str(error):
        return (
            "Keras before 3.10 does not make an activation again that is a layer inside of another. Put "
            "it after that one as a layer of the model, or pip install --upgrade keras."
        )
    return (
        "Give the class a `get_config` that returns every argument of its constructor, and register it, "
        "and the functions that it is given, with @keras.saving.register_keras_serializable()."
    )


def _copy_state(layer: Any, copy: Any) -> None:
    """Gives a copy the weights of a layer, and whatever else it and the layers in it keep in files."""
    if not layer.built:
        # A rule has made it, or it is an activation that nothing has called yet.
        if copy.weights:
            raise ValueError(
                f"Expected layer {layer.name!r} to have its weights. Received a layer that is not built: "
                "call the model on an input first."
            )
        return
    parts, others = list(layer._flatten_layers()), list(copy._flatten_layers())
    if [type(part) for part in parts[1:]] != [type(part) for part in others[1:]]:
        raise ValueError(
            f"Expected layer {layer.name!r} of class {type(layer).__name__}, made again from its own "
            f"configuration, to have the same layers inside. Received: {len(parts) - 1} layers in "
            f"the model and {len(others) - 1} in the copy. Have its `get_config` return what it "
            "makes them from."
        )
    for part, other in zip(parts, others, strict=True):
        _copy_own_state(layer, part, other)


def _copy_own_state(layer: Any, part: Any, copy: Any) -> None:
    store: dict[str, Any] = {}
    part.save_own_variables(store)
    values = {key: ops.convert_to_numpy(value) for key, value in store.items()}
    try:
        copy.load_own_variables(values)
        if hasattr(part, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                part.save_assets(folder)
                copy.load_assets(folder)
    except Exception as error:
        raise ValueError(
            f"Expected layer {layer.name!r} of class {type(layer).__name__}, made again from its own "
            f"configuration, to take the same weights. Received: {type(error).__name__}: {error} Have "
            "its `get_config` return what decides the shapes of its weights."
        ) from error

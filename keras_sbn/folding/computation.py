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

from typing import Any

import keras

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
_OWN_PACKAGES = ("keras.", "keras_sbn.")


def base_class(operation: Any) -> type:
    """The class of Keras or of this package that an operation is, or derives from."""
    return next(cls for cls in type(operation).__mro__ if _is_own(cls))


def computed_class(operation: Any) -> type | None:
    """The class of Keras or of this package whose computation an operation has.

    Args:
        operation: A layer, or an operation of `keras.ops`.

    Returns:
        The class, by which tables look an operation up; `None` where nothing can be assumed, for which
        `change_of` has the words.
    """
    return base_class(operation) if change_of(operation) is None else None


def change_of(operation: Any) -> str | None:
    """What makes an operation compute otherwise than its class of Keras or of this package does.

    Returns:
        Words such as "class StandardizedConv2D defines its own convolution_op", or `None` where nothing
        does.
    """
    known = base_class(operation)
    if known in (keras.layers.Layer, keras.Operation, object):
        return f"class {type(operation).__name__} is not one of Keras"
    for cls in type(operation).__mro__:
        if cls in known.__mro__:
            continue
        for name in vars(cls):
            if name not in _HARMLESS and hasattr(known, name):
                return f"class {cls.__name__} defines its own {name}"
    for name in vars(operation) if hasattr(operation, "__dict__") else ():
        replaced = callable(getattr(known, name, None)) and name not in _WRAPPED_BY_KERAS
        if replaced:
            return f"its {name} was replaced on the instance"
    mode = getattr(operation, "quantization_mode", None)
    if mode is not None:
        return f"Keras quantized it to {mode}, which rounds its inputs anew for every batch"
    return None


def plain_copy(layer: Any, **changes: Any) -> Any:
    """A layer of the class whose computation `layer` has, with its arguments, some of them changed.

    The copy is not built. A subclass that only fixes arguments cannot be made from its own configuration
    in general: its constructor need not take what `get_config` returns.
    """
    known = base_class(layer)
    return known.from_config({**known.get_config(layer), **changes})  # type: ignore[attr-defined]


def _is_own(cls: type) -> bool:
    return cls is object or cls.__module__.startswith(_OWN_PACKAGES) or cls.__module__ == "keras"

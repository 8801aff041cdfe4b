"""Which value of a dictionary, a list or a nesting of them is which input or output of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def input_structure(model: Any) -> Any:
    """The tensors that a model takes, in the structure it was built with; `None` if none can be read."""
    return _structure(model, "input")


def output_structure(model: Any) -> Any:
    """The tensors that a model returns, in the structure it was built with; `None` as above."""
    return _structure(model, "output")


def inputs_in_order(inputs: Any, model: Any, names: Sequence[str]) -> list[Any]:
    """Returns one value an input, in the order of `model.inputs`, of what `model.predict` takes.

    Args:
        inputs: A value, a list or tuple of them, or a dictionary: in the structure that the model was
            built with, or by the names of its inputs. Entries that no input has are left out.
        model: A Keras model. Where it has no inputs that can be read, `names` decide.
        names: Names of the file's inputs, in order.

    Raises:
        ValueError: If an input is missing or there are too many.
    """
    structure = input_structure(model)
    tensors = [] if structure is None else keras.tree.flatten(structure)
    if isinstance(inputs, dict):
        found = None if structure is None else _laid_out(inputs, structure)
        own = [tensor.name for tensor in tensors]
        for known in (own, list(names)):
            if found is None and known and all(name in inputs for name in known):
                found = [inputs[name] for name in known]
        if found is None:
            keys = list(structure) if isinstance(structure, dict) else own or list(names)
            raise ValueError(f"Expected inputs named {keys}. Received: {list(inputs)}")
        return found
    found = keras.tree.flatten(inputs) if isinstance(inputs, list | tuple) else [inputs]
    count = len(tensors) or len(names)
    if len(found) != count:
        raise ValueError(f"Expected {count} inputs, as the model has. Received: {len(found)}")
    return found


def outputs_in_order(outputs: Any, model: Any) -> list[Any]:
    """Returns one value an output, in the order of `model.outputs`, of what `model.predict` returns."""
    structure = output_structure(model)
    found = None if structure is None else _laid_out(outputs, structure)
    return keras.tree.flatten(outputs) if found is None else found


def names_in_order(structure: Any) -> list[str]:
    """A name a value: the keys under which it lies, joined by dots; empty where it lies in a list.

    `None` is a structure that cannot be read, of which no name is known.
    """
    if structure is None:
        return []
    count = len(keras.tree.flatten(structure))
    found = [""] * count
    _name(keras.tree.pack_sequence_as(structure, list(range(count))), "", found)
    return found


def order_by_name(names: Sequence[str], *known: Sequence[str]) -> list[int]:
    """Where the file has each value of the model.

    Args:
        names: The file's names, in its order.
        *known: Names that the model has for its values, in its own order, the better ones first.

    Returns:
        For every value of the model its index in the file: by name where the names are the same ones,
        and otherwise the order as it is.
    """
    as_it_is = list(range(len(names)))
    if any(list(candidate) == list(names) for candidate in known):
        return as_it_is
    for candidate in known:
        if len(set(names)) == len(names) and sorted(candidate) == sorted(names):
            return [list(names).index(name) for name in candidate]
    return as_it_is


def _structure(model: Any, which: str) -> Any:
    if isinstance(model, keras.Sequential):
        # Its own attribute is the tensor of the first model that calls it, where one does.
        model = model._functional
    try:
        return getattr(model, which, None)
    except ValueError:
        # Keras before 3.6, of a subclassed model.
        return None


def _laid_out(values: Any, structure: Any) -> list[Any] | None:
    """The values in the order in which Keras flattens the structure; `None` if they lie otherwise."""
    count = len(keras.tree.flatten(structure))
    found: list[Any] = [None] * count
    fits = _collect(values, keras.tree.pack_sequence_as(structure, list(range(count))), found)
    return found if fits else None


def _collect(values: Any, places: Any, found: list[Any]) -> bool:
    if isinstance(places, dict):
        return isinstance(values, dict) and all(
            key in values and _collect(values[key], place, found) for key, place in places.items()
        )
    if isinstance(places, list | tuple):
        return (
            isinstance(values, list | tuple)
            and len(values) == len(places)
            and all(_collect(value, place, found) for value, place in zip(values, places, strict=True))
        )
    if isinstance(values, dict):
        return False
    found[places] = values
    return True


def _name(places: Any, name: str, found: list[str]) -> None:
    if isinstance(places, dict):
        for key, place in places.items():
            _name(place, f"{name}.{key}" if name else str(key), found)
    elif isinstance(places, list | tuple):
        for place in places:
            _name(place, name, found)
    else:
        found[places] = name

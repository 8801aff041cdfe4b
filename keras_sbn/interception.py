"""Something done around the calls of layers, for a while: the one place where methods are replaced.

Keras has no hooks on layers. Subclassed models rule out another functional model of the same layers, so
a method of the layer object itself is replaced, and given back when the context ends. Operators are found
on the class alone, and replaced there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

#: Gets the layer, its own method, and the arguments of the call; returns the outputs.
Around = Callable[..., Any]


@contextmanager
def intercepting(layers: Iterable[Any], around: Around, method: str = "call") -> Iterator[None]:
    """Within it, `around(layer, method, *args, **kwargs)` runs in place of a method of each layer.

    For models that are called eagerly or traced within the context, in one thread. A step that was
    compiled before does not see it.

    Args:
        layers: Keras layers, each once.
        around: Gets the layer, its own bound method and the arguments of the call; what it returns is the
            result of the call.
        method: Name of the method.

    Raises:
        RuntimeError: If a method of a layer is intercepted already.
    """
    with ExitStack() as stack:
        for layer in layers:
            own = vars(layer)
            if method in own:
                raise RuntimeError(
                    f"Expected one interception of {layer.name!r} at a time. Received a second one of "
                    f"its method {method!r}."
                )
            own[method] = partial(around, layer, getattr(layer, method))
            stack.callback(own.pop, method)
        yield


@contextmanager
def intercepting_class(cls: type, methods: Iterable[str], around: Around) -> Iterator[None]:
    """Within it, `around(method, name, *args)` runs in place of methods that a class defines itself.

    Args:
        cls: The class.
        methods: Names; those that the class does not define are left alone.
        around: Gets the class's own function, its name, and the arguments of the call, the object first.
    """
    with ExitStack() as stack:
        for name in methods:
            if name in vars(cls):
                own = vars(cls)[name]
                stack.callback(setattr, cls, name, own)
                setattr(cls, name, _function(around, own, name))
        yield


def _function(around: Around, own: Any, name: str) -> Callable[..., Any]:
    """A plain function, which a class binds to its objects."""

    def called(*args: Any, **kwargs: Any) -> Any:
        return around(own, name, *args, **kwargs)

    return called

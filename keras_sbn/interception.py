"""Something done around the calls of layers, for a while: the one place where methods are replaced.

Keras has no hooks on layers. Subclassed models rule out another functional model of the same layers, so
a method of the layer object itself is replaced, and given back when the context ends.
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

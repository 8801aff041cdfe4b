"""Larq models become keras_sbn models, and the other way round.

Larq works with Keras 2, keras_sbn with Keras 3. Between the two stands a description of plain Python
values and NumPy arrays (`keras_sbn.larq.description`), which one side writes and the other reads, in one
process where it holds both Kerases, and in two where it does not (`keras_sbn.larq.process`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_sbn.larq.exporting import to_larq as to_larq
    from keras_sbn.larq.importing import from_larq as from_larq

# Larq's side runs in a process without Keras 3, so nothing is imported before it is asked for.
_FUNCTIONS = {"from_larq": "importing", "to_larq": "exporting"}


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS})

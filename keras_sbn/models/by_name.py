"""Architectures by their names, as the command line and configuration files give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_sbn.models.bi_real_net import BiRealResNet18, BiRealResNet34
from keras_sbn.models.binary_alex_net import BinaryAlexNet
from keras_sbn.models.binary_net import BinaryNet
from keras_sbn.models.quick_net import QuickNet, QuickNetLarge, QuickNetSmall
from keras_sbn.models.resnet20 import ResNet20
from keras_sbn.models.tiny_conv import TinyConv
from keras_sbn.suggestions import did_you_mean

_ALL: dict[str, Callable[..., Any]] = {
    "tinyconv": TinyConv,
    "binarynet": BinaryNet,
    "resnet20": ResNet20,
    "binaryalexnet": BinaryAlexNet,
    "birealresnet18": BiRealResNet18,
    "birealresnet34": BiRealResNet34,
    "quicknetsmall": QuickNetSmall,
    "quicknet": QuickNet,
    "quicknetlarge": QuickNetLarge,
}


def names() -> list[str]:
    """Returns the names that `by_name` knows, in lower case, the small networks first."""
    return list(_ALL)


def by_name(name: str) -> Callable[..., Any]:
    """Returns the function that builds the architecture of that name.

    Args:
        name: Name of a function of `keras_sbn.models`; case, dashes and underscores do not matter.

    Raises:
        ValueError: If there is none of that name.

    Example:

    >>> keras_sbn.models.by_name("bi-real-resnet18") is keras_sbn.models.BiRealResNet18
    True
    """
    key = name.lower().replace("-", "").replace("_", "")
    if key not in _ALL:
        raise ValueError(
            f"Expected one of the models {', '.join(_ALL)}. Received: {name!r}.{did_you_mean(key, _ALL)}"
        )
    return _ALL[key]

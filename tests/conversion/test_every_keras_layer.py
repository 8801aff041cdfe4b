"""Every layer of Keras, with arguments that users give it: equal to the model, or refused by name.

The layers are those that the installed Keras has, whether a rule knows them or not.
"""

import inspect
import os
import zlib

import keras
import numpy as np
import pytest
from conftest import randomize
from every import check

import keras_sbn
from keras_sbn import layers
from keras_sbn.conversion.registry import LOWERINGS

K = keras.layers

#: Networks of a layer.
NETWORKS = 40 if "KERAS_SBN_FUZZ" in os.environ else 2
#: By class, as some have two names.
LAYERS = {
    kind: name for name, kind in vars(K).items() if inspect.isclass(kind) and issubclass(kind, K.Layer)
}
_POSITIONAL = (
    (),
    (),
    (1,),
    (2,),
    (3,),
    (4,),
    (4, 3),
    (0.5,),
    ((2, 2),),
    (((1, 0), (0, 1)),),
    ((16,),),
    ((2, 1),),
)
_OPTIONS = (
    {"activation": "relu"},
    {"activation": "softplus"},
    {"activation": "sigmoid"},
    {"alpha": 0.3},
    {"axis": 1},
    {"axis": -1},
    {"axis": (1, 2)},
    {"axes": (1, 1)},
    {"center": False},
    {"data_format": "channels_first"},
    {"depth_multiplier": 2},
    {"dilation_rate": 2},
    {"epsilon": 0.1},
    {"groups": 2},
    {"interpolation": "bilinear"},
    {"keepdims": True},
    {"max_value": 1.0},
    {"mean": 0.5, "variance": 2.0},
    {"mean": 0.5, "variance": 2.0, "invert": True},
    {"negative_slope": 0.25},
    {"normalize": True},
    {"offset": 0.5},
    {"offset": [0.5, -1.0, 2.0, 0.25]},
    {"padding": "same"},
    {"padding": "causal"},
    {"return_sequences": True},
    {"scale": 0.5},
    {"scale": False},
    {"shared_axes": (1, 2)},
    {"strides": 2},
    {"strides": (2, 2), "padding": "same"},
    {"synchronized": True},
    {"threshold": 0.5},
    {"trainable": False},
    {"use_bias": False},
    {"use_scale": True},
    {"dtype": "float64"},
)
#: From values of 4 x 4 x 4 what a layer is called with.
_INPUTS = (
    lambda layer, x, y: layer(x),
    lambda layer, x, y: layer(K.Reshape((4, 16))(x)),
    lambda layer, x, y: layer(K.Flatten()(x)),
    lambda layer, x, y: layer(K.Reshape((4, 2, 2, 4))(x)),
    lambda layer, x, y: layer([x, y]),
    lambda layer, x, y: layer([K.Flatten()(x), K.Flatten()(y)]),
    lambda layer, x, y: layer(K.Reshape((4, 16))(x), K.Reshape((4, 16))(y)),
    lambda layer, x, y: layer(x, training=True),
)


def drawn(kind, rng):
    """A network around a layer of the class, or `None` where Keras does not take what was drawn."""
    accepted = inspect.signature(kind.__init__).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    named = [o for o in _OPTIONS if all(key in accepted or (takes_any and key == "dtype") for key in o)]
    options = {}
    for index in rng.choice(len(named), min(len(named), rng.integers(0, 3)), replace=False):
        options |= named[index]
    arguments = _POSITIONAL[rng.integers(len(_POSITIONAL))]
    signs = bool(rng.integers(2))
    call = _INPUTS[rng.integers(len(_INPUTS))]
    try:
        layer = kind(*arguments, **options)
    except Exception:
        return None
    inputs = keras.Input((6, 6, 3))
    x, y = (layers.BinaryBatchNormalization()(layers.SelfBinarizingConv2D(4, 3)(inputs)) for _ in "ab")
    if signs:
        x, y = layers.SelfBinarizingActivation()(x), layers.SelfBinarizingActivation()(y)
    try:
        found = keras.tree.flatten(call(layer, x, y))
        model = keras.Model(inputs, found[0])
    except Exception:
        return None
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model, f"{kind.__name__}({arguments}, {options}), {_INPUTS.index(call)}, signs={signs}"


@pytest.mark.parametrize("kind", LAYERS, ids=LAYERS.get)
def test_a_layer_is_equal_or_refused_by_name(kind):
    rng = np.random.default_rng(zlib.crc32(kind.__name__.encode()))
    made = 0
    for _ in range(200 * NETWORKS):
        network = drawn(kind, rng)
        if network is not None:
            check(*network, rng)
            made += 1
            if made == NETWORKS:
                break
    assert made or kind not in LOWERINGS, "what is drawn shows nothing of this layer"

"""Layers of hls4ml for what it does not have: their weights, and the calls of `keras_sbn.h`.

`value_types` gives values and weights their types, when it is known what goes in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
from hls4ml.model.flow import update_flow
from hls4ml.model.layers import Layer, layer_map, register_layer
from hls4ml.model.optimizer import ModelOptimizerPass, register_pass

from keras_sbn.hls4ml_model.checks import check
from keras_sbn.hls4ml_model.names import AFFINE, PAD, THRESHOLD
from keras_sbn.hls4ml_model.value_types import choose

_HEADER = "keras_sbn.h"


class _OwnLayer(Layer):
    """A layer with the sizes of its input, whose weights are those of `WEIGHTS`, by attribute."""

    WEIGHTS: ClassVar[dict[str, str]]

    def initialize(self) -> None:
        self.add_output_variable(self.output_shape())
        for weight, attribute in self.WEIGHTS.items():
            data = np.asarray(self.attributes[attribute], "float64")
            self.add_weights_variable(name=weight, var_name=f"{weight}{{index}}", data=data)
        self.set_attr("n_values", self.weights[next(iter(self.WEIGHTS))].data.size)

    def output_shape(self) -> list[int]:
        return list(self.get_input_variable().shape)


def _expected(*weights: str) -> list[Attribute]:
    return [*map(WeightAttribute, weights), *map(TypeAttribute, weights)]


class KerasSbnThreshold(_OwnLayer):
    """+1 where a value reaches a threshold, -1 elsewhere."""

    _expected_attributes = _expected("threshold", "turned")
    WEIGHTS: ClassVar = {"threshold": "thresholds", "turned": "turned_channels"}


class KerasSbnAffine(_OwnLayer):
    """A multiplication and an addition a channel."""

    _expected_attributes = _expected("scale", "offset")
    WEIGHTS: ClassVar = {"scale": "scales", "offset": "offsets"}


class KerasSbnPad(_OwnLayer):
    """A border of one value, or of one a channel."""

    _expected_attributes = _expected("value")
    WEIGHTS: ClassVar = {"value": "values"}

    def output_shape(self) -> list[int]:
        height, width, channels = self.get_input_variable().shape
        (above, below), (before, after) = self.attributes["margins"]
        sizes = {
            "in_height": height,
            "in_width": width,
            "n_chan": channels,
            "above": above,
            "before": before,
            "out_height": above + height + below,
            "out_width": before + width + after,
        }
        for name, value in sizes.items():
            self.set_attr(name, value)
        return [sizes["out_height"], sizes["out_width"], channels]


_LAYERS: dict[str, tuple[type, str]] = {
    THRESHOLD: (KerasSbnThreshold, "threshold"),
    AFFINE: (KerasSbnAffine, "affine"),
    PAD: (KerasSbnPad, "pad"),
}
_SIZES = ("in_height", "in_width", "n_chan", "above", "before", "out_height", "out_width")


class ConfigurationTemplate(LayerConfigTemplate):
    """The structure of constants and types that a function of `keras_sbn.h` takes."""

    def __init__(self) -> None:
        super().__init__([layer for layer, _ in _LAYERS.values()])

    def format(self, node: Any) -> str:
        constants = {"n_in": node.get_input_variable().size_cpp(), "n_values": node.get_attr("n_values")}
        constants.update(
            (name, node.get_attr(name)) for name in _SIZES if node.get_attr(name) is not None
        )
        lines = [f"    static const unsigned {name} = {value};" for name, value in constants.items()]
        lines += [f"    typedef {node.weights[name].type.name} {name}_t;" for name in node.WEIGHTS]
        return "\n".join([f"struct config{node.index} {{", *lines, "};\n"])


class CallTemplate(FunctionCallTemplate):
    """The call of a function of `keras_sbn.h`."""

    def __init__(self) -> None:
        layers = [layer for layer, _ in _LAYERS.values()]
        super().__init__(layers, include_header=[f"nnet_utils/{_HEADER}"])

    def format(self, node: Any) -> str:
        names = self._default_function_params(node)
        arguments = [names["input"], names["output"], *(node.weights[name].name for name in node.WEIGHTS)]
        types = ", ".join(names[key] for key in ("input_t", "output_t", "config"))
        return f"keras_sbn::{_LAYERS[node.class_name][1]}<{types}>({', '.join(arguments)});"


def register() -> None:
    """Makes the layers known to hls4ml; once is enough."""
    if THRESHOLD in layer_map:
        return
    for name, (layer, _) in _LAYERS.items():
        register_layer(name, layer)
    # The backend of Vitis takes the templates and the flow of this one.
    backend = get_backend("Vivado")
    backend.register_template(ConfigurationTemplate)
    backend.register_template(CallTemplate)
    header = Path(__file__).parent / _HEADER
    for each in ("Vivado", "Vitis"):
        get_backend(each).register_source(header)
    # The first flow of all: before anything is made of what cannot be.
    for name, run, flow in (("check", check, "parse_qonnx"), ("types", choose, "vivado:optimize")):
        register_pass(f"keras_sbn_{name}", ModelOptimizerPass(name, run))
        update_flow(flow, add_optimizers=[f"keras_sbn_{name}"])

"""From a Larq model to its description; runs beside Keras 2 and imports no Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sbn.larq.arguments import ARGUMENTS, QUANTIZED_ARGUMENTS
from keras_sbn.larq.description import Call, Description, Input, Kernel, Layer, Value
from keras_sbn.larq.loading import UntrustedCodeError, load
from keras_sbn.larq.quantizers import MAGNITUDE, SIGNS, quantizer_name
from keras_sbn.larq.tracing import trace

#: Activations that Keras 2 and 3 define alike.
_ACTIVATIONS = (
    "elu",
    "exponential",
    "gelu",
    "relu",
    "selu",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
)


def describe_file(path: str, modules: tuple[str, ...] = (), safe_mode: bool = True) -> Description:
    """Describes the model of a file; see `keras_sbn.larq.loading.load`.

    Raises:
        ValueError: If it cannot be loaded, or a layer cannot be read.
    """
    return describe(_load(path, modules, safe_mode))


def convert_file(path: str, modules: tuple[str, ...] = (), safe_mode: bool = True) -> bytes:
    """Converts the model of a file with LCE's own converter, and returns the bytes of its .tflite."""
    import larq_compute_engine as lce

    return bytes(lce.convert_keras_model(_load(path, modules, safe_mode)))


def _load(path: str, modules: tuple[str, ...], safe_mode: bool) -> Any:
    try:
        return load(path, modules, safe_mode)
    except ImportError:
        raise
    except UntrustedCodeError as error:
        raise UntrustedCodeError(f"{path}: {error}") from None
    except Exception as error:  # What Keras raises depends on where the file is damaged.
        raise ValueError(
            f"Expected an .h5 or .keras file or a SavedModel folder of a Larq model. Received: {path} "
            f"({type(error).__name__}: {str(error).strip()[:300]}). Layers of one's own need `modules`, "
            "Lambda layers safe_mode=False."
        ) from error


def describe(model: Any) -> Description:
    """Reads a built Functional or Sequential model of Keras 2; nested models are flattened.

    Raises:
        ValueError: If the model is subclassed or not built, or a layer cannot be read. The message
            names it.
    """
    return _Reader(model).description


class _Reader:
    def __init__(self, model: Any) -> None:
        self.description = Description(model.name, [], [], [], [])
        self._numbers: dict[int, int] = {}
        self._names: set[str] = set()
        _require_graph(model)
        values: dict[int, Value] = {}
        for index, tensor in enumerate(model.inputs):
            name = tensor.node.layer.name
            shape = tuple(tensor.shape.as_list())
            self.description.inputs.append(Input(name, shape, tensor.dtype.name))
            values[id(tensor)] = (-1, index)
        self._read_calls(model, values)
        self.description.outputs = [values[id(tensor)] for tensor in model.outputs]

    def _read_calls(self, model: Any, values: dict[int, Value]) -> None:
        import tensorflow as tf

        # What Keras knows of its own tensors, by what it calls them: inputs of nested models too.
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                outputs = tf.nest.flatten(node.outputs)
                if node.is_input or all(id(tensor) in values for tensor in outputs):
                    continue
                sources = [values[id(tensor)] for tensor in node.keras_inputs]
                layer = node.layer
                if isinstance(layer, tf.keras.Model):
                    _require_graph(layer)
                    inner = {id(a): b for a, b in zip(layer.inputs, sources, strict=True)}
                    self._read_calls(layer, inner)
                    found = [inner[id(tensor)] for tensor in layer.outputs]
                else:
                    found = self._read_call(node, layer, sources)
                for tensor, value in zip(outputs, found, strict=True):
                    values[id(tensor)] = value

    def _read_call(self, node: Any, layer: Any, sources: list[Value]) -> list[Value]:
        import larq
        import tensorflow as tf

        kind = type(layer).__name__
        shapes = [tuple(t.shape.as_list()) for t in node.keras_inputs]
        if isinstance(layer, larq.quantizers.Quantizer):
            return self._quantizer(layer.name, layer, sources, shapes)
        if kind == "Activation" and type(layer) is tf.keras.layers.Activation:
            return self._activation(layer.name, layer.activation, sources, shapes)
        if type(layer) is getattr(tf.keras.layers, kind, None) and kind in ARGUMENTS:
            arguments = ARGUMENTS[kind]
        elif type(layer) is getattr(larq.layers, kind, None) and kind in QUANTIZED_ARGUMENTS:
            arguments = QUANTIZED_ARGUMENTS[kind]
        elif kind == "Normalization" and type(layer) is tf.keras.layers.Normalization:
            weights = {name: np.asarray(getattr(layer, name)) for name in ("mean", "variance")}
            return self._add(Layer(layer.name, kind, {"axis": -1}, weights=weights), layer, sources, node)
        elif type(layer).__module__.startswith("larq."):
            raise ValueError(
                f"Expected one of {', '.join(sorted(QUANTIZED_ARGUMENTS))}. Received: layer "
                f"{layer.name!r} of class {kind}, for which keras_sbn has no counterpart."
            )
        else:
            return self._trace(layer.name, _as_function(node, layer), sources, shapes)
        quantizer = getattr(layer, "input_quantizer", None)
        name = quantizer_name(quantizer)
        if quantizer is not None and name not in SIGNS:
            sources = self._trace(f"{layer.name}_input_quantizer", quantizer, sources, shapes, name)
        read = Layer(layer.name, kind, _arguments(layer, arguments), input_quantizer=name)
        separate = self._read_activation(layer, read)
        self._read_weights(layer, read)
        results = self._add(read, layer, sources, node)
        if separate is None:
            return results
        shape = tuple(tf.nest.flatten(node.outputs)[0].shape.as_list())
        return self._activation(f"{layer.name}_activation", separate, results, [shape])

    def _read_activation(self, layer: Any, read: Layer) -> Any:
        """Notes a known activation among the arguments; any other is returned, to follow the layer."""
        import tensorflow as tf

        activation = getattr(layer, "activation", None)
        if activation in (None, tf.keras.activations.linear):
            return None
        name = _keras_activation(activation)
        if name is None:
            return activation
        read.arguments["activation"] = name
        return None

    def _read_weights(self, layer: Any, read: Layer) -> None:
        for weight in layer.weights:
            name = weight.name.split("/")[-1].split(":")[0]
            value = np.asarray(weight.numpy(), np.float32)
            if name not in ("kernel", "depthwise_kernel", "pointwise_kernel"):
                read.weights[name] = value
                continue
            attribute = name.replace("kernel", "quantizer") if name != "kernel" else "kernel_quantizer"
            quantizer = getattr(layer, attribute, None)
            quantized = value
            if quantizer is not None:
                quantized = np.asarray(quantizer(value), np.float32)
            read.kernels[name] = Kernel(value, quantized, quantizer_name(quantizer))

    def _quantizer(
        self, name: str, quantizer: Any, sources: list[Value], shapes: list[tuple[int | None, ...]]
    ) -> list[Value]:
        found = quantizer_name(quantizer)
        if found in SIGNS:
            layer = Layer(self._unique(name), "Quantizer", {"quantizer": found})
            return self._call(layer, None, sources, shapes)
        return self._trace(name, quantizer, sources, shapes, found)

    def _activation(
        self, name: str, activation: Any, sources: list[Value], shapes: list[tuple[int | None, ...]]
    ) -> list[Value]:
        known = _keras_activation(activation)
        if known is not None:
            layer = Layer(self._unique(name), "Activation", {"activation": known})
            return self._call(layer, None, sources, shapes)
        if quantizer_name(activation) in (*SIGNS, MAGNITUDE):
            return self._quantizer(name, activation, sources, shapes)
        return self._trace(name, activation, sources, shapes)

    def _trace(
        self,
        name: str,
        function: Callable[..., Any],
        sources: list[Value],
        shapes: list[tuple[int | None, ...]],
        quantizer: str | None = None,
    ) -> list[Value]:
        try:
            operations, outputs = trace(function, shapes)
        except Exception as error:  # Anything can happen in a function of the user's.
            raise ValueError(
                f"Expected a layer that can be read. Received: {name!r}, whose function cannot be "
                f"traced ({type(error).__name__}: {str(error).splitlines()[0]}). Write it with layers of "
                "tf.keras."
            ) from error
        places: dict[tuple[int, int], Value] = {(-1, i): value for i, value in enumerate(sources)}
        for index, operation in enumerate(operations):
            last = index == len(operations) - 1
            own = name if last else f"{name}_{index}_{operation.kind.lower()}"
            layer = Layer(self._unique(own), f"op:{operation.kind}", dict(operation.attributes))
            layer.input_quantizer = quantizer
            inputs = []
            for place, source in enumerate(operation.inputs):
                if isinstance(source, tuple):
                    inputs.append(places[source])
                else:
                    layer.constants[place] = source
            results = self._call(layer, None, inputs, operation.shapes)
            places.update({(index, i): value for i, value in enumerate(results)})
        if any(not isinstance(output, tuple) for output in outputs):
            raise ValueError(f"Expected values that depend on the input. Received: layer {name!r}")
        return [places[output] for output in outputs if isinstance(output, tuple)]

    def _add(self, layer: Layer, original: Any, sources: list[Value], node: Any) -> list[Value]:
        import tensorflow as tf

        shapes = [tuple(t.shape.as_list()) for t in tf.nest.flatten(node.outputs)]
        if id(original) not in self._numbers:
            layer.name = self._unique(layer.name)
        return self._call(layer, original, sources, shapes)

    def _call(
        self, layer: Layer, original: Any, sources: list[Value], shapes: list[tuple[int | None, ...]]
    ) -> list[Value]:
        number = len(self.description.layers)
        if original is not None:
            number = self._numbers.setdefault(id(original), number)
        if number == len(self.description.layers):
            self.description.layers.append(layer)
        self.description.calls.append(Call(number, sources, shapes))
        return [(len(self.description.calls) - 1, index) for index in range(len(shapes))]

    def _unique(self, name: str) -> str:
        count, unique = 0, name
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique


def _require_graph(model: Any) -> None:
    import tensorflow as tf

    if not isinstance(model, tf.keras.Model):
        raise ValueError(
            f"Expected a Larq model, of Keras 2. Received: {type(model).__module__}."
            f"{type(model).__name__}"
        )
    if not getattr(model, "_is_graph_network", False) or not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            "Expected a built Functional or Sequential model, whose layers form a graph that can be "
            f"read. Received: {model.name!r} of class {type(model).__name__}. Give a Sequential model an "
            "input_shape, and build a subclassed one with the Functional API."
        )


def _keras_activation(activation: Any) -> str | None:
    import tensorflow as tf

    for name in ("linear", *_ACTIVATIONS):
        if activation is getattr(tf.keras.activations, name):
            return name
    return None


def _arguments(layer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The constructor's arguments as plain values, with L1 and L2 regularizers."""
    import tensorflow as tf

    found: dict[str, Any] = {}
    for name in names:
        if name == "output_padding" and not hasattr(layer, name):
            continue
        value = getattr(layer, name)
        found[name] = _plain(tf.keras.backend.get_value(value) if tf.is_tensor(value) else value)
    if not layer.trainable:
        found["trainable"] = False
    for prefix in ("kernel", "depthwise", "pointwise", "bias", "beta", "gamma", "alpha"):
        regularizer = getattr(layer, f"{prefix}_regularizer", None)
        factors = {name: float(getattr(regularizer, name, 0.0)) for name in ("l1", "l2")}
        if any(factors.values()):
            found[f"{prefix}_regularizer"] = factors
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def _as_function(node: Any, layer: Any) -> Callable[..., Any]:
    """The call of a layer as a function of its tensors alone."""
    import tensorflow as tf

    places = {id(tensor): index for index, tensor in enumerate(node.keras_inputs)}

    def function(*tensors: Any) -> Any:
        args, kwargs = tf.nest.map_structure(
            lambda x: tensors[places[id(x)]] if id(x) in places else x,
            (node.call_args, node.call_kwargs),
        )
        return layer(*args, **kwargs)

    return function

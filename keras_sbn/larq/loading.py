"""Loads the file of a Larq model, and runs no code that the file names or holds; beside Keras 2.

The safe mode of Keras 2 is not enough. It is ignored for `.h5` files and SavedModel folders, a `.keras`
file may name any function of any module that Python finds, an operator of a graph any function of
TensorFlow (`tf.io.write_file`), and the graph of a SavedModel folder may have any operation of
TensorFlow. So the configuration of the model is read first, as JSON, and may name only layers of Keras,
what Larq and the modules that the caller gives have registered, and functions that compute something.
Of a SavedModel folder the graph is not loaded at all: the configuration and the weights are enough.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Layers of Keras 2 whose arguments are code, or paths of files to be read.
_NOT_LAYERS = ("IntegerLookup", "Lambda", "StringLookup", "TextVectorization")
#: Layers of operators between tensors, and the functions of TensorFlow that they may call: those compute
#: a tensor of tensors and do nothing else.
_OPERATORS = {
    "SlicingOpLambda": re.compile(r"__operators__\.getitem"),
    "TFOpLambda": re.compile(
        r"((math|nn|linalg|signal|bitwise|quantization|image|__operators__|keras\.activations)\.\w+"
        r"|keras\.backend\.(elu|hard_sigmoid|relu|sigmoid|softmax|softplus|softsign|tanh)"
        r"|batch_to_space|broadcast_to|cast|clip_by_value|concat|expand_dims|gather|identity|one_hot|pad"
        r"|repeat|reshape|reverse|roll|slice|space_to_batch|split|squeeze|stack|stop_gradient"
        r"|strided_slice|tile|transpose|unstack|where|zeros_like|ones_like)"
    ),
}
#: Names of values, not of classes.
_VALUES = ("TensorShape", "__ellipsis__", "__numpy__", "__tensor__", "__tuple__")
_MODELS = ("Functional", "Model", "Sequential")
_CONFIG_OF_KERAS = "config.json"
_CONFIG_OF_SAVED_MODEL = "keras_metadata.pb"


class UntrustedCodeError(ValueError):
    """A file names code that is neither Keras's nor Larq's nor of a module that the caller gave."""


def load(path: str, modules: tuple[str, ...] = (), safe_mode: bool = True) -> Any:
    """Loads a model of Keras 2.

    Args:
        path: An `.h5` or `.keras` file or a SavedModel folder.
        modules: Modules to import before, which register layers and quantizers of their own.
        safe_mode: Whether to refuse a file that names what is neither Keras's nor Larq's nor of
            `modules`, such as Lambda layers. Otherwise the file is code, and runs.

    Raises:
        UntrustedCodeError: If it names something else.
        ValueError: If the file holds no model.
    """
    import importlib

    import larq  # noqa: F401  (registers its layers)
    import tensorflow as tf

    for module in modules:
        importlib.import_module(module)
    if not safe_mode:
        return tf.keras.models.load_model(path, compile=False, safe_mode=False)
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    is_folder = Path(path).is_dir()
    # Where this process holds a model of the caller's, its scope comes back.
    with SafeModeScope(True):
        if is_folder:
            return _rebuilt(Path(path), modules)
        # What Keras reads from these two is what was checked.
        require_known(_config_of_file(path), modules)
        return tf.keras.models.load_model(path, compile=False, safe_mode=True)


def require_known(config: Any, modules: tuple[str, ...] = ()) -> None:
    """Refuses the configuration of a model that names other code than Keras's, Larq's and the modules'.

    Args:
        config: The configuration, as JSON gives it.
        modules: Modules whose classes and functions may be named.

    Raises:
        UntrustedCodeError: If it does; with the name of the layer, and what it names.
    """
    known, functions = _known_classes(), _known_functions()
    for entry in _entries(config):
        name, module = entry["class_name"], entry.get("module")
        inner = entry.get("config")
        inside = inner if isinstance(inner, dict) else {}
        if name in _OPERATORS:
            function = inside.get("function")
            fits = isinstance(function, str) and _OPERATORS[name].fullmatch(function) is not None
            shown = f"{name} of {function!r}"
        elif name == "function":
            fits = isinstance(inner, str) and (inner in functions or _is_of(module, modules))
            shown = f"the function {module}.{inner}"
        else:
            # Either of the two names may be looked up.
            names = [name] if entry.get("registered_name") is None else [name, entry["registered_name"]]
            fits = all(isinstance(one, str) and one in known for one in names) or _is_of(module, modules)
            shown = f"{module}.{name}" if module else str(name)
        if not fits:
            layer = inside.get("name") or entry.get("name") or "without a name"
            raise UntrustedCodeError(
                "Expected layers of Keras and Larq, whose code is not in the file, and nothing else. "
                f"Received: {shown[:200]} (layer {str(layer)[:100]!r}). Modules that register layers of "
                "your own are named (modules=[...], --module). safe_mode=False (--unsafe) runs the code "
                "of the file: only for a file that you trust"
            )


def _is_of(module: Any, modules: tuple[str, ...]) -> bool:
    """Whether a module is one of those that the caller gave, or below one."""
    return isinstance(module, str) and any(
        module == one or module.startswith(f"{one}.") for one in modules
    )


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary of a configuration that names a class, at any depth."""
    rest = [config]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)


def _known_classes() -> frozenset[str]:
    import inspect

    import tensorflow as tf

    keras = tf.keras
    rooms = (
        keras.layers,
        keras.initializers,
        keras.regularizers,
        keras.constraints,
        keras.optimizers,
        keras.losses,
        keras.metrics,
        keras.mixed_precision,
    )
    names = {name for room in rooms for name, value in vars(room).items() if inspect.isclass(value)}
    names -= set(_NOT_LAYERS)
    return frozenset({*names, *_VALUES, *_MODELS, *keras.utils.get_custom_objects()})


def _known_functions() -> frozenset[str]:
    import inspect

    import tensorflow as tf

    keras = tf.keras
    rooms = (keras.activations, keras.losses, keras.metrics)
    names = {name for room in rooms for name, value in vars(room).items() if inspect.isfunction(value)}
    names -= {"deserialize", "get", "serialize"}
    return frozenset({*names, *keras.utils.get_custom_objects()})


def _config_of_file(path: str) -> Any:
    """The configuration in a file, of which Keras 2 decides by the suffix what it is."""
    if path.endswith(".keras") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(_CONFIG_OF_KERAS))
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise ValueError("the file has weights and no model: save the whole model, model.save(path)")
    return json.loads(config)


def _rebuilt(folder: Path, modules: tuple[str, ...]) -> Any:
    """The model of a SavedModel folder, from its configuration and its weights."""
    import tensorflow as tf
    from tf_keras.protobuf import saved_metadata_pb2
    from tf_keras.src.saving.legacy.saved_model import json_utils
    from tf_keras.src.saving.legacy.saved_model.utils import keras_option_scope

    if not (folder / _CONFIG_OF_SAVED_MODEL).is_file():
        raise ValueError(
            f"a folder without {_CONFIG_OF_SAVED_MODEL}, which Keras 2 writes into the folder of a model"
        )
    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.ParseFromString((folder / _CONFIG_OF_SAVED_MODEL).read_bytes())
    text = next((node.metadata for node in metadata.nodes if node.node_path == "root"), "{}")
    found = json.loads(text)
    if found.get("class_name") not in ("Functional", "Sequential") or not found.get("config"):
        raise ValueError(
            "a model that is neither Functional nor Sequential, and so a graph without a configuration: "
            f"{found.get('class_name')!r}"
        )
    config = {"class_name": found["class_name"], "config": found["config"]}
    require_known(config, modules)
    with keras_option_scope(save_traces=False, in_tf_saved_model_scope=True):
        model = tf.keras.models.model_from_config(json_utils.decode(json.dumps(config)))
    # The objects of a SavedModel's weights are those of a checkpoint.
    status = model.load_weights(str(folder / "variables" / "variables"))
    status.assert_existing_objects_matched().expect_partial()
    return model

"""Larq's tutorials and its whole Zoo, imported, folded and converted, beside Larq's own road to LCE.

    python benchmarks/larq_zoo_trial.py --out trial.json [BinaryAlexNet QuickNet ...]
    python benchmarks/larq_zoo_trial.py --weights quicknet_weights.h5 QuickNet

Two processes a network: one with Keras 2 builds it, with random weights and perturbed statistics or
with the weights of a file, runs it, converts it with LCE's converter and describes it; the other, with
Keras 3, makes a keras_sbn model of the description, converts that, and runs both files. docs/larq.md says
how to install larq-zoo.

Signs are compared with those of Larq in float64, in two ways. Free: the network runs as it is, and one
sign that turns turns others behind it. Forced: every layer reads the signs of float64, so that each
decision stands for itself, and one that differs does not differ because of another before it. Float
layers round, so a value next to 0 may take the other sign in any float32. By how much, Larq's own pass in
float32 says, forced too: the largest distance of its values from float64 is the layer's rounding. A sign
that differs where the value in float64 is nearer to 0 than that is a tie; any other is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TUTORIALS = ("MNIST tutorial", "BinaryNet tutorial")
LITERATURE = (
    "BinaryAlexNet",
    "BiRealNet",
    "BinaryResNetE18",
    "BinaryDenseNet28",
    "BinaryDenseNet37",
    "BinaryDenseNet37Dilated",
    "BinaryDenseNet45",
    "DoReFaNet",
    "MeliusNet22",
    "RealToBinaryNet",
    "XNORNet",
)
STATE_OF_THE_ART = ("QuickNetSmall", "QuickNet", "QuickNetLarge")
IMAGES = 1


def tutorial(name: str) -> Any:
    """The models of Larq's tutorials: for MNIST, and BinaryNet for CIFAR-10."""
    import larq as lq
    import tensorflow as tf

    sign = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    mnist = name == TUTORIALS[0]
    shape, filters, pools = (
        ((28, 28, 1), (32, 64, 64), (0, 1))
        if mnist
        else ((32, 32, 3), (128, 128, 256, 256, 512, 512), (1, 3, 5))
    )
    network = tf.keras.Sequential([tf.keras.layers.InputLayer(shape)])

    def add(kind: Any, *arguments: Any, **options: Any) -> None:
        quantizer = {"input_quantizer": "ste_sign"} if len(network.layers) else {}
        network.add(kind(*arguments, **sign, **quantizer, **options))

    for index, count in enumerate(filters):
        add(lq.layers.QuantConv2D, count, 3, padding="valid" if mnist or not index else "same")
        if index in pools:
            network.add(tf.keras.layers.MaxPooling2D(2))
        network.add(tf.keras.layers.BatchNormalization(scale=False))
    network.add(tf.keras.layers.Flatten())
    for units in (64, 10) if mnist else (1024, 1024, 10):
        add(lq.layers.QuantDense, units)
        network.add(tf.keras.layers.BatchNormalization(scale=False))
    network.add(tf.keras.layers.Activation("softmax"))
    return network


def network_of(name: str, weights: str | None = None) -> Any:
    """A network by its name, up to its softmax."""
    if name in TUTORIALS:
        return without_softmax(tutorial(name))
    import larq_zoo as zoo

    family = zoo.literature if name in LITERATURE else zoo.sota
    return without_softmax(getattr(family, name)(weights=weights))


def without_softmax(model: Any) -> Any:
    """The network up to its last layer, whose values near 0 and 1 would hide differences."""
    import tensorflow as tf

    return tf.keras.Model(model.input, model.layers[-1].input, name=model.name)


def perturb(model: Any, images: np.ndarray, rng: np.random.Generator) -> None:
    """Sets batch normalization to the statistics of the images, then all of it off a little."""
    import tensorflow as tf

    norms = [x for x in model.layers if isinstance(x, tf.keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        shape = norm.moving_mean.shape
        deviation = np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        norm.moving_mean.assign_add(0.1 * deviation * rng.normal(size=shape))
        norm.moving_variance.assign(norm.moving_variance * rng.uniform(0.8, 1.2, shape))
        if norm.scale:
            norm.gamma.assign(rng.uniform(0.5, 1.5, shape))
        if norm.center:
            norm.beta.assign(rng.normal(0, 0.2, shape))


def sign_layers(model: Any) -> list[Any]:
    """The layers of a Larq model that take the sign of their input."""
    from keras_sbn.larq.quantizers import SIGNS, quantizer_name

    return [x for x in model.layers if quantizer_name(getattr(x, "input_quantizer", None)) in SIGNS]


def taken_signs_of(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the quantized layers of a Larq model take the sign of, by layer."""
    import tensorflow as tf

    layers = sign_layers(model)
    if not layers:
        return {}
    inner = tf.keras.Model(model.inputs, [layer.input for layer in layers])
    values = tf.nest.flatten(inner(images, training=False))
    return {layer.name: value.numpy() for layer, value in zip(layers, values, strict=True)}


def forced_larq(
    model: Any, images: np.ndarray, exact: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Larq in float32 where every layer reads the signs of float64: its own signs, and its rounding."""
    import tensorflow as tf

    signs: dict[str, np.ndarray] = {}
    rounding: dict[str, float] = {}

    def forcing(name: str) -> Any:
        def quantizer(x: Any) -> Any:
            signs[name] = x.numpy() >= 0
            rounding[name] = float(np.abs(x.numpy() - exact[name]).max())
            return tf.where(exact[name] >= 0, tf.ones_like(x), -tf.ones_like(x))

        return quantizer

    layers = sign_layers(model)
    quantizers = [layer.input_quantizer for layer in layers]
    for layer in layers:
        layer.input_quantizer = forcing(layer.name)
    model(images, training=False)
    for layer, quantizer in zip(layers, quantizers, strict=True):
        layer.input_quantizer = quantizer
    return signs, rounding


def forced_folded(
    folded: Any, images: np.ndarray, places: dict[str, list[str]], exact: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The folded model where every layer reads the signs of float64: its own signs, by Larq's layer.

    Args:
        folded: The folded model.
        images: Its input.
        places: For the layers of the folded model that give signs, whose in Larq's they are.
        exact: What Larq takes the sign of, in float64.
    """
    import keras

    from keras_sbn.folding import graph as graphs
    from keras_sbn.folding.ops import Pick, Slot

    graph = graphs.read(folded)
    values = {id(node): keras.ops.convert_to_tensor(images) for node in graph.inputs}
    signs: dict[str, np.ndarray] = {}
    for node in graph.nodes():
        if id(node) in values:
            continue
        sources = [values[id(source)] for source in node.inputs]
        if isinstance(node.op, Pick):
            values[id(node)] = sources[0][node.op.index]
            continue
        args, kwargs = keras.tree.map_structure(
            lambda x, sources=sources: sources[x.index] if isinstance(x, Slot) else x, node.op.arguments
        )
        values[id(node)] = node.op.operation(*args, **kwargs)
        for layer in places.get(node.name, ()):
            sign = keras.ops.convert_to_numpy(values[id(node)]) > 0
            # A sign may have moved before a reshape; one that moved before a pool is of another size.
            if sign.size == exact[layer].size:
                signs[layer] = sign.reshape(exact[layer].shape)
                forced = np.where(exact[layer].reshape(sign.shape) >= 0, np.float32(1), np.float32(-1))
                values[id(node)] = keras.ops.convert_to_tensor(forced)
    return signs


def compare_signs(
    signs: dict[str, np.ndarray],
    exact: dict[str, np.ndarray],
    rounding: dict[str, float],
) -> dict[str, Any]:
    """How many signs differ from those in float64, and how near to 0 their values are.

    Args:
        signs: By layer, in the order of the network.
        exact: The values in float64 that they are the signs of.
        rounding: How far Larq's own float32 is from float64 in that layer at most.
    """
    found: dict[str, Any] = {"compared": 0, "turned": 0, "ties": 0, "layers": {}}
    for layer, sign in signs.items():
        turned = sign != (exact[layer] >= 0)
        found["compared"] += turned.size
        if not turned.any():
            continue
        margins = np.abs(exact[layer][turned])
        ties = int((margins < rounding[layer]).sum())
        found["turned"] += int(turned.sum())
        found["ties"] += ties
        found["layers"][layer] = {
            "turned": int(turned.sum()),
            "ties": ties,
            "margin": float(margins.max()),
            "rounding": rounding[layer],
            "deviation": float(exact[layer].std()),
        }
    return found


def larq_side(name: str, folder: Path, weights: str | None = None) -> None:
    """Builds a network, runs and converts it, and describes it. Keras 2."""
    import larq_compute_engine as lce
    import tensorflow as tf

    from keras_sbn.larq.reading import describe

    tf.keras.utils.set_random_seed(0)
    model = network_of(name, weights)
    rng = np.random.default_rng(0)
    images = rng.integers(-128, 128, (IMAGES, *model.input_shape[1:])).astype("float32") / 128
    if weights is None:
        perturb(model, images, rng)
    outputs, values = model(images, training=False).numpy(), taken_signs_of(model, images)
    started = time.perf_counter()
    description = describe(model)
    seconds = {"describe": time.perf_counter() - started}
    (folder / "description.pickle").write_bytes(pickle.dumps(description, protocol=5))
    started = time.perf_counter()
    (folder / "larq.tflite").write_bytes(lce.convert_keras_model(model))
    seconds["convert"] = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # The same network in float64, where nothing is rounded that could turn a sign.
    tf.keras.backend.clear_session()
    tf.keras.backend.set_floatx("float64")
    exact = network_of(name)
    exact.set_weights(model.get_weights())
    by_place = taken_signs_of(exact, images.astype("float64")).values()
    exact_values = dict(zip(values, by_place, strict=True))
    exact_outputs = exact(images.astype("float64"), training=False).numpy()
    tf.keras.backend.set_floatx("float32")
    forced, rounding = forced_larq(model, images, exact_values)
    np.savez(folder / "larq.npz", x=images, y=outputs, y64=exact_outputs)
    # float32 keeps the sign and the size; what becomes 0 is closer to it than anything that matters.
    np.savez(folder / "values.npz", **{k: v.astype("float32") for k, v in exact_values.items()})
    free = {name: value >= 0 for name, value in values.items()}
    found = {
        "seconds": seconds,
        "peak_bytes": peak,
        "rounding": rounding,
        "free": compare_signs(free, exact_values, rounding),
        "forced": compare_signs(forced, exact_values, rounding),
    }
    (folder / "larq.json").write_text(json.dumps(found))


def our_side(name: str, folder: Path) -> None:
    """Imports the description, folds, converts, and compares. Keras 3."""
    import keras

    import keras_sbn
    from keras_sbn.larq.building import build

    known = np.load(folder / "larq.npz")
    description = pickle.loads((folder / "description.pickle").read_bytes())
    larq = json.loads((folder / "larq.json").read_text())
    refusal = ""
    try:
        model = build(description)
    except ValueError as error:  # A quantizer that is not the sign, by the name of its layer.
        refusal = str(error)
        model = build(description, allow_float_fallback=True)
    fallback = bool(refusal)
    started = time.perf_counter()
    folded, trace = keras_sbn.fold(model, trace=True)
    seconds = {"fold": time.perf_counter() - started}
    started = time.perf_counter()
    converted = keras_sbn.convert(folded, allow_float_fallback=fallback)
    seconds["convert"] = time.perf_counter() - started
    ours, theirs = converted.save(folder / "ours.tflite"), folder / "larq.tflite"
    exact = dict(np.load(folder / "values.npz"))
    places: dict[str, list[str]] = {}
    for layer in exact:
        if (place := trace.signs.get(f"{layer}_sign")) is not None:
            places.setdefault(place, []).append(layer)
    free: dict[str, np.ndarray] = {}
    if places:
        inner = keras.Model(folded.input, [folded.get_layer(place).output for place in places])
        for layers, value in zip(places.values(), keras.tree.flatten(inner(known["x"])), strict=True):
            free |= {layer: keras.ops.convert_to_numpy(value) > 0 for layer in layers}
    forced = forced_folded(folded, known["x"], places, exact)
    free = {k: free[k].reshape(exact[k].shape) for k in exact if k in forced}

    def distance(y: Any) -> float:
        return float(np.abs(np.asarray(y) - known["y64"]).max() / np.abs(known["y64"]).max())

    outputs = keras.ops.convert_to_numpy(folded(known["x"]))
    predicted = np.asarray(converted.predict(known["x"]))
    peer = keras_sbn.ConvertedModel.load(theirs)
    latencies = keras_sbn.benchmark([theirs, ours], runs=10)
    row = {
        "network": name,
        "refusal": refusal,
        "larq": larq,
        "seconds": seconds,
        "bytes": {"larq": theirs.stat().st_size, "ours": ours.stat().st_size},
        "binary_layers": {"larq": _binary(peer.report), "ours": _binary(converted.report)},
        "bitpacked": {"larq": _bitpacked(peer.report), "ours": _bitpacked(converted.report)},
        "ms": {"larq": latencies[0].median_ms, "ours": latencies[1].median_ms},
        "relative_difference": {
            "larq": distance(known["y"]),
            "folded": distance(outputs),
            "file": distance(predicted),
            "larq_file": distance(peer.predict(known["x"])),
        },
        "file_to_folded": float(np.abs(predicted - outputs).max() / np.abs(outputs).max()),
        "layers_compared": [len(forced), len(exact)],
        "free": compare_signs(free, exact, larq["rounding"]),
        "forced": compare_signs(forced, exact, larq["rounding"]),
    }
    (folder / "ours.json").write_text(json.dumps(row))


def _binary(report: Any) -> int:
    """Binary convolutions."""
    return sum("LceBconv2d" in layer.operators for layer in report.layers)


def _bitpacked(report: Any) -> int:
    """Binary convolutions that write bits."""
    rows = (layer for layer in report.layers if layer.operators[-1:] == ("LceBconv2d",))
    return sum(layer.output_type == "bitpacked" for layer in rows)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/larq.md; of every pair the first is Larq's, the second ours; signs are ours."""
    lines = [
        "| network | bytes, Larq → LCE | bytes, keras_sbn | binary layers | difference, Larq → LCE | "
        "difference, keras_sbn | signs | differ | ties | turned in all | ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.get("failure"):
            lines.append(f"| {row['network']} | {row['failure'].splitlines()[-1]} |")
            continue
        size, layers, ms = row["bytes"], row["binary_layers"], row["ms"]
        distances, forced = row["relative_difference"], row["forced"]
        lines.append(
            f"| {row['network']} | {size['larq']:,} | {size['ours']:,} "
            f"| {layers['larq']} / {layers['ours']} "
            f"| {distances['larq_file']:.0e} | {distances['file']:.0e} "
            f"| {forced['compared']:,} | {forced['turned'] - forced['ties']} | {forced['ties']} "
            f"| {row['free']['turned']:,} | {ms['larq']:.0f} / {ms['ours']:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Tries the networks one by one and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=[*TUTORIALS, *LITERATURE, *STATE_OF_THE_ART])
    parser.add_argument("--out", default="larq_zoo.json")
    parser.add_argument("--weights", help="file of weights for the one network, or imagenet: download")
    parser.add_argument("--keep", help="folder for the files of both")
    parser.add_argument("--reuse", action="store_true", help="take what --keep has of Larq's side")
    parser.add_argument("--side", choices=("larq", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.weights is not None and len(options.networks) != 1:
        parser.error("Expected one network with --weights.")
    if options.side == "larq":
        larq_side(options.networks[0], options.folder, options.weights)
    if options.side == "ours":
        our_side(options.networks[0], options.folder)
    if options.side:
        return 0
    rows = []
    for name in options.networks:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(options.keep, name) if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            known = options.reuse and (folder / "larq.json").exists()
            failure = "" if known else _run_side("larq", name, folder, options.weights)
            failure = failure or _run_side("ours", name, folder)
            row = {"network": name, "failure": failure}
            if not failure:
                row = json.loads((folder / "ours.json").read_text())
        rows.append(row)
        print(json.dumps(row), flush=True)
        Path(options.out).write_text(json.dumps(rows, indent=1))
    print(markdown(rows))
    return int(any(row.get("failure") for row in rows))


def _run_side(side: str, name: str, folder: Path, weights: str | None = None) -> str:
    """Runs one side in a process of its own; returns what it says where it fails."""
    legacy = str(int(side == "larq"))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": legacy}
    command = [sys.executable, __file__, name, "--side", side, "--folder", str(folder)]
    command += ["--weights", weights] if weights else []
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stderr.strip()[-1500:] or f"exit code {run.returncode}"


if __name__ == "__main__":
    sys.exit(main())

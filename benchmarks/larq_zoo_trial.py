"""Every architecture of the Larq Zoo, imported, folded and converted, beside Larq's own road to LCE.

    python benchmarks/larq_zoo_trial.py --out trial.json [BinaryAlexNet QuickNet ...]

Two processes a network: one with Keras 2 builds it, with random weights and perturbed statistics, runs
it, converts it with LCE's converter and describes it; the other, with Keras 3, makes a keras_sbn model of
the description, converts that, and runs both files. docs/larq.md says how to install larq-zoo.
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


def taken_signs_of(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the quantized layers of a Larq model take the sign of, by layer."""
    import tensorflow as tf

    from keras_sbn.larq.quantizers import SIGNS, quantizer_name

    layers = [x for x in model.layers if quantizer_name(getattr(x, "input_quantizer", None)) in SIGNS]
    inner = tf.keras.Model(model.inputs, [layer.input for layer in layers])
    values = tf.nest.flatten(inner(images, training=False))
    return {layer.name: value.numpy() for layer, value in zip(layers, values, strict=True)}


def compare_signs(signs: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> dict[str, Any]:
    """How many signs differ from those in float64, and how near to 0 the first of them are.

    One sign that turned turns others behind it, so only the first layer with one says why: its values
    there, in float64, over the standard deviation of the layer.
    """
    found: dict[str, Any] = {"compared": 0, "turned": 0, "first_layer": "", "first_turned": 0}
    for layer, sign in signs.items():
        turned = sign != (exact[layer] >= 0)
        found["compared"] += turned.size
        found["turned"] += int(turned.sum())
        if turned.any() and not found["first_layer"]:
            margin = np.abs(exact[layer][turned]).max() / exact[layer].std()
            found |= {"first_layer": layer, "first_turned": int(turned.sum()), "margin": float(margin)}
    return found


def larq_side(name: str, folder: Path) -> None:
    """Builds a network of the zoo, runs and converts it, and describes it. Keras 2."""
    import larq_compute_engine as lce
    import larq_zoo as zoo
    import tensorflow as tf

    from keras_sbn.larq.reading import describe

    family = zoo.literature if name in LITERATURE else zoo.sota
    tf.keras.utils.set_random_seed(0)
    model = without_softmax(getattr(family, name)(weights=None))
    rng = np.random.default_rng(0)
    images = rng.integers(-128, 128, (IMAGES, *model.input_shape[1:])).astype("float32") / 128
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
    exact = without_softmax(getattr(family, name)(weights=None))
    exact.set_weights(model.get_weights())
    by_place = taken_signs_of(exact, images.astype("float64")).values()
    exact_values = dict(zip(values, by_place, strict=True))
    exact_outputs = exact(images.astype("float64"), training=False).numpy()
    np.savez(folder / "larq.npz", x=images, y=outputs, y64=exact_outputs)
    # float32 keeps the sign and the size; what becomes 0 is closer to it than anything that matters.
    np.savez(folder / "values.npz", **{k: v.astype("float32") for k, v in exact_values.items()})
    turned = compare_signs({name: value >= 0 for name, value in values.items()}, exact_values)
    found = {"seconds": seconds, "peak_bytes": peak, "signs": turned}
    (folder / "larq.json").write_text(json.dumps(found))


def our_side(name: str, folder: Path) -> None:
    """Imports the description, folds, converts, and compares. Keras 3."""
    import keras

    import keras_sbn
    from keras_sbn.larq.building import build

    known = np.load(folder / "larq.npz")
    description = pickle.loads((folder / "description.pickle").read_bytes())
    fallback = name == "DoReFaNet"
    started = time.perf_counter()
    folded, trace = keras_sbn.fold(build(description, allow_float_fallback=fallback), trace=True)
    seconds = {"import_and_fold": time.perf_counter() - started}
    started = time.perf_counter()
    converted = keras_sbn.convert(folded, allow_float_fallback=fallback)
    seconds["convert"] = time.perf_counter() - started
    ours, theirs = converted.save(folder / "ours.tflite"), folder / "larq.tflite"
    exact = dict(np.load(folder / "values.npz"))
    places = {layer: trace.signs.get(f"{layer}_sign") for layer in exact}
    watched = {layer: place for layer, place in places.items() if place is not None}
    inner = keras.Model(folded.input, [folded.get_layer(place).output for place in watched.values()])
    values = [keras.ops.convert_to_numpy(value) > 0 for value in keras.tree.flatten(inner(known["x"]))]
    # A sign that moved before a pool is of another shape.
    signs = {k: v for k, v in zip(watched, values, strict=True) if v.shape == exact[k].shape}

    def distance(y: Any) -> float:
        return float(np.abs(np.asarray(y) - known["y64"]).max() / np.abs(known["y64"]).max())

    peer = keras_sbn.ConvertedModel.load(theirs)
    latencies = keras_sbn.benchmark([theirs, ours], runs=10)
    row = {
        "network": name,
        "larq": json.loads((folder / "larq.json").read_text()),
        "seconds": seconds,
        "bytes": {"larq": theirs.stat().st_size, "ours": ours.stat().st_size},
        "binary_layers": {"larq": _binary(peer.report), "ours": _binary(converted.report)},
        "bitpacked": {"larq": _bitpacked(peer.report), "ours": _bitpacked(converted.report)},
        "ms": {"larq": latencies[0].median_ms, "ours": latencies[1].median_ms},
        "relative_difference": {
            "larq": distance(known["y"]),
            "folded": distance(folded(known["x"])),
            "file": distance(converted.predict(known["x"])),
            "larq_file": distance(peer.predict(known["x"])),
        },
        "signs": {**compare_signs(signs, exact), "layers": len(signs), "of": len(exact)},
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
    """The table of docs/larq.md; of every pair of numbers the first is Larq's, the second ours."""
    lines = [
        "| network | bytes, Larq → LCE | bytes, keras_sbn | binary layers | difference, Larq → LCE | "
        "difference, keras_sbn | signs turned | ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.get("failure"):
            lines.append(f"| {row['network']} | {row['failure'].splitlines()[-1]} |")
            continue
        size, layers, ms = row["bytes"], row["binary_layers"], row["ms"]
        distances, signs = row["relative_difference"], row["signs"]
        turned = f"{signs['turned']:,} of {signs['compared']:,}"
        lines.append(
            f"| {row['network']} | {size['larq']:,} | {size['ours']:,} "
            f"| {layers['larq']} / {layers['ours']} "
            f"| {distances['larq_file']:.0e} | {distances['file']:.0e} | {turned} "
            f"| {ms['larq']:.0f} / {ms['ours']:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Tries the networks one by one and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=[*LITERATURE, *STATE_OF_THE_ART])
    parser.add_argument("--out", default="larq_zoo.json")
    parser.add_argument("--keep", help="folder for the files of both")
    parser.add_argument("--reuse", action="store_true", help="take what --keep has of Larq's side")
    parser.add_argument("--side", choices=("larq", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = larq_side if options.side == "larq" else our_side
        side(options.networks[0], options.folder)
        return 0
    rows = []
    for name in options.networks:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(options.keep, name) if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            known = options.reuse and (folder / "larq.json").exists()
            failure = "" if known else _run_side("larq", name, folder)
            failure = failure or _run_side("ours", name, folder)
            row = {"network": name, "failure": failure}
            if not failure:
                row = json.loads((folder / "ours.json").read_text())
        rows.append(row)
        print(json.dumps(row), flush=True)
        Path(options.out).write_text(json.dumps(rows, indent=1))
    print(markdown(rows))
    return int(any(row.get("failure") for row in rows))


def _run_side(side: str, name: str, folder: Path) -> str:
    """Runs one side in a process of its own; returns what it says where it fails."""
    legacy = str(int(side == "larq"))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": legacy}
    if side == "ours":
        environment["KERAS_BACKEND"] = environment.get("KERAS_BACKEND", "jax")
    command = [sys.executable, __file__, name, "--side", side, "--folder", str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stderr.strip()[-1500:] or f"exit code {run.returncode}"


if __name__ == "__main__":
    sys.exit(main())

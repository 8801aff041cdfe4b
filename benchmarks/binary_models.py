"""What `keras_sbn.binary_model` makes of networks that were not written for it, trained.

    python benchmarks/binary_models.py                # the ten networks, each for a few epochs
    python benchmarks/binary_models.py --accuracy digits --seeds 5
    python benchmarks/binary_models.py --accuracy mnist --data-dir data --seeds 3     # mnist-28, cifar10
    python benchmarks/binary_models.py --report       # the tables of all runs so far
    python benchmarks/binary_models.py --page         # write docs/binary_models.md

The ten networks (`keras_networks.py`) learn small tasks: the digits, 16 x 16; tones in noise; a rule on
a table; the shapes in an image; digits with a table of hints. Each is folded, converted to every target,
and compared with its file.

The accuracy runs train the float network and the binary one that `binary_model` makes of it, untrained,
for equal epochs, on equal batches; the learning rate falls as a cosine to 0 from a rate that is the best
of three on validation images with the first seed. What counts is the network of signs on all test images.

A row is added to the file of results after every run; a run whose row is there is not run again.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import accuracy_data
import keras
import keras_networks
import numpy as np

import keras_sbn

RESULTS = Path(__file__).with_suffix(".csv")
PAGE = Path(__file__).parent.parent / "docs" / "binary_models.md"
COLUMNS = (
    "task",
    "network",
    "policy",
    "learning_rate",
    "seed",
    "epochs",
    "chance",
    "validation",
    "test",
    "differ",
)
#: The learning rates that are tried with the first seed.
RATES = (1e-3, 3e-3, 1e-2)


class Accuracy(NamedTuple):
    """A longer training.

    Attributes:
        network: One of the ten.
        options: What it is made with.
        images: For training; `None` takes all.
        epochs: Passes over them.
        validation: Images that choose the learning rate.
        data: The data set, if it is not the name of the training.
        half_size: Whether blocks of 2 x 2 pixels are averaged.
    """

    network: str
    options: dict[str, Any]
    images: int | None
    epochs: int
    validation: int = 5000
    data: str | None = None
    half_size: bool = True


ACCURACY = {
    "digits": Accuracy("cifar_vgg", {"shape": (8, 8, 1), "width": 32}, None, 30, 287, half_size=False),
    "mnist": Accuracy("mnist_convnet", {"shape": (14, 14, 1), "width": 32}, 10_000, 10),
    "mnist-28": Accuracy(
        "mnist_convnet", {"shape": (28, 28, 1), "width": 32}, 10_000, 10, data="mnist", half_size=False
    ),
    "cifar10": Accuracy("cifar_vgg", {"shape": (16, 16, 3), "width": 16}, 10_000, 10),
}


def tasks(samples: int = 1200, seed: int = 0) -> dict[str, tuple[Any, Any, Any, Any, float]]:
    """By network: inputs and targets to train on and to test on, and the accuracy of a guess."""
    rng = np.random.default_rng(seed)
    digits = accuracy_data.load("digits", None, train=None, validation=0, half_size=False)
    (x, y), (x_test, y_test) = digits.train, digits.test
    large, large_test = (np.kron(each, np.ones((1, 2, 2, 1), "float32")) for each in (x, x_test))
    images = (large, y, large_test, y_test, 0.1)
    hints, hints_test = (_hints(each, rng) for each in (y, y_test))
    joined = tuple(
        part
        for image, table, label in ((large, hints, y), (large_test, hints_test, y_test))
        for part in (
            {"image": image, "table": table},
            {"class": label, "odd": (label % 2)[:, None].astype("float32")},
        )
    )
    found: dict[str, Any] = dict.fromkeys(keras_networks.NETWORKS, images)
    found["audio_conv1d"] = (*_tones(samples, rng), *_tones(samples, rng), 0.25)
    rule = rng.normal(size=(16, 8)), rng.normal(size=8)
    found["tabular_mlp"] = (*_table(samples, rule, rng), *_table(samples, rule, rng), 0.5)
    found["unet"] = (*_shapes(samples // 2, rng), *_shapes(samples // 4, rng), 1 / 3)
    found["multi_input"] = (*joined, 0.1)
    return found


def _hints(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    codes = np.stack([(labels >> bit) & 1 for bit in range(8)], axis=1)
    return (codes + rng.normal(size=codes.shape)).astype("float32")


def _tones(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four tones of random phase, in noise: `(samples, 64, 1)`."""
    labels = rng.integers(0, 4, samples)
    angle = 2 * np.pi * (labels[:, None] * 3 + 2) * np.arange(64) / 64 + rng.uniform(0, 6.3, (samples, 1))
    return (np.sin(angle) + 0.5 * rng.normal(size=angle.shape))[..., None].astype("float32"), labels


def _table(samples: int, rule: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sixteen features; the class is the side of a random surface."""
    x = rng.normal(size=(samples, 16)).astype("float32")
    hidden, out = rule
    return x, (np.maximum(x @ hidden, 0) @ out > 0).astype("int64")


def _shapes(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A square and a disc in noise, and the class of every pixel; classes count equally."""
    masks = np.zeros((samples, 16, 16), "int64")
    rows, columns = np.mgrid[:16, :16]
    for mask in masks:
        row, column = rng.integers(2, 7), rng.integers(0, 10)
        mask[row : row + 6, column : column + 6] = 1
        center = rng.integers(3, 13, 2)
        mask[(rows - center[0]) ** 2 + (columns - center[1]) ** 2 < 10] = 2
    colors = np.array([[0, 0, 0], [1, 0.3, 0], [0, 0.3, 1]])[masks]
    return (colors + 0.4 * rng.normal(size=colors.shape)).astype("float32"), masks


def score(model: Any, x: Any, y: Any) -> float:
    """The share of right classes; of pixels, the mean over the classes."""
    outputs = model.predict(x, verbose=0, batch_size=128)
    if isinstance(outputs, dict):
        outputs, y = outputs["class"], y["class"]
    classes = outputs.argmax(-1)
    if classes.ndim == 1:
        return float(np.mean(classes == y))
    return float(np.mean([np.mean(classes[y == label] == label) for label in np.unique(y)]))


def train(model: Any, x: Any, y: Any, rate: float, epochs: int, binary: bool, batch: int = 64) -> None:
    """Adam, a cosine to 0; with `Sharpen` where the network is binary."""
    size = len(keras.tree.flatten(x)[0])
    steps = epochs * -(-size // batch)
    logits = model.name in ("xception", "multi_input")
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    if isinstance(y, dict):
        loss = {"class": loss, "odd": "binary_crossentropy"}
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)), loss)
    model.jit_compile = False
    callbacks = [keras_sbn.callbacks.Sharpen(data=x)] if binary else []
    model.fit(x, y, batch_size=batch, epochs=epochs, callbacks=callbacks, verbose=0)


def run_networks(names: list[str], policies: list[str], epochs: int, done: set[tuple[str, ...]]) -> None:
    """Trains, folds, converts and compares each of the ten networks."""
    data = tasks()
    for name in names:
        x, y, x_test, y_test, chance = data[name]
        shape = x.shape[1:] if not isinstance(x, dict) else tuple(each.shape[1:] for each in x.values())
        classes = {"tabular_mlp": 2, "unet": 3, "audio_conv1d": 4}.get(name, 10)
        for policy in policies:
            if ("networks", name, policy, "0") in done:
                continue
            keras.utils.set_random_seed(0)
            model = keras_networks.NETWORKS[name](shape, classes)
            if policy != "float":
                model = keras_sbn.binary_model(model, policy=policy).model
            rate = 3e-3 if policy == "float" else 1e-2
            train(model, x, y, rate, epochs, policy != "float")
            differ = ""
            if policy != "float":
                differ = "; ".join(_compared(model, x_test, target) for target in ("lce", "tflite"))
            row = (
                "networks",
                name,
                policy,
                rate,
                0,
                epochs,
                chance,
                "",
                score(model, x_test, y_test),
                differ,
            )
            add(row)
            keras.utils.clear_session()


def _compared(model: Any, x: Any, target: str) -> str:
    folded = keras_sbn.fold(model)
    found = keras_sbn.verify(keras_sbn.convert(folded, target), model, x)
    return f"{target} {found.differing_decisions}"


def run_accuracy(
    name: str, data_dir: str | None, seeds: int, policies: list[str], done: set[Any], rates: list[float]
) -> None:
    """The float network and the binary ones, for equal epochs."""
    setting = ACCURACY[name]
    network = setting.network
    data = accuracy_data.load(
        setting.data or name,
        data_dir,
        train=setting.images,
        validation=setting.validation,
        half_size=setting.half_size,
    )
    best: dict[str, float] = {}
    for seed in range(seeds):
        for policy in policies:
            for rate in rates if seed == 0 else (best[policy],):
                if (name, network, policy, str(seed), str(rate)) in done:
                    continue
                keras.utils.set_random_seed(seed)
                model = keras_networks.NETWORKS[network](**setting.options)
                if policy != "float":
                    model = keras_sbn.binary_model(model, policy=policy).model
                train(model, *data.train, rate, setting.epochs, policy != "float")
                validation, test = score(model, *data.validation), score(model, *data.test)
                add((name, network, policy, rate, seed, setting.epochs, 0.1, validation, test, ""))
                keras.utils.clear_session()
            if seed == 0:
                rows = [r for r in read() if (r["task"], r["policy"], r["seed"]) == (name, policy, "0")]
                best[policy] = float(max(rows, key=lambda r: float(r["validation"]))["learning_rate"])


def read() -> list[dict[str, str]]:
    """The rows of the file of results."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(row: tuple[Any, ...]) -> None:
    """Adds a row to the file of results."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(
            [
                f"{value:.4f}" if isinstance(value, float) and value not in RATES else value
                for value in row
            ]
        )
    print(*row, flush=True)


def report() -> str:
    """The tables of all runs, in Markdown."""
    rows = read()
    lines = [
        "| network | epochs | chance | float | vgg | bireal | decisions that differ |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in keras_networks.NETWORKS:
        found = {r["policy"]: r for r in rows if (r["task"], r["network"]) == ("networks", name)}
        if not found:
            continue
        shown = [_percent(found.get(policy)) for policy in ("float", "vgg", "bireal")]
        chance, epochs = (next(iter(found.values()))[column] for column in ("chance", "epochs"))
        counts = [text.split()[1] for r in found.values() for text in r["differ"].split("; ") if text]
        total = sum(map(int, counts))
        cells = (f"`{name}`", epochs, f"{100 * float(chance):.0f}", *shown, str(total))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| data | network | epochs | policy | learning rate | test accuracy, % | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ACCURACY:
        for policy in ("float", "vgg", "bireal"):
            runs = [r for r in rows if (r["task"], r["policy"]) == (name, policy)]
            first = [r for r in runs if r["seed"] == "0"]
            if not first:
                continue
            rate = max(first, key=lambda r: float(r["validation"]))["learning_rate"]
            values = [100 * float(r["test"]) for r in runs if r["learning_rate"] == rate]
            spread = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2f}" if len(values) > 1 else ""
            mean, network = f"{np.mean(values):.2f}{spread}", runs[0]["network"]
            cells = (name, f"`{network}`", runs[0]["epochs"], policy, rate, mean, str(len(values)))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def layer_table(result: keras_sbn.BinaryModel) -> str:
    """What became of every layer, in Markdown."""
    lines = ["| layer | was | is | why |", "|---|---|---|---|"]
    for row in result.layers:
        became = [text.split(": ")[1] for text in row.became]
        lines.append(f"| `{row.name}` | {row.kind} | {', '.join(became) or '–'} | {row.reason} |")
    return "\n".join(lines)


def page() -> str:
    """The page of the documentation: the tables of the runs, and of the layers of every network."""
    parts = [_INTRODUCTION, report(), ""]
    for name, network in keras_networks.NETWORKS.items():
        for policy in ("vgg", "bireal")[: 2 if name == "resnet_v1" else 1]:
            keras.utils.clear_session()
            text = (network.__doc__ or "").strip()
            parts += [f'## {name}, policy="{policy}"', "", text, ""]
            parts += [layer_table(keras_sbn.binary_model(network(), policy=policy)), ""]
    return "\n".join(parts)


_INTRODUCTION = """# Ten Keras networks, made binary

What [`keras_sbn.binary_model`](from_keras.md) makes of networks that were not written for it: Keras's own
examples, rebuilt from their descriptions, narrow (`benchmarks/keras_networks.py`). The page is written by
`python benchmarks/binary_models.py --page`; a test keeps the tables of layers true.

The first table has the accuracy of the network of signs after a few epochs on a small task, one run each,
beside the float network after as many, in percent, and how many decisions of the files of both targets
differ from the model's. The second one is of longer trainings, float and binary for equal epochs: mean ±
standard error over the seeds, on all test images; the learning rate is the one of those that
`benchmarks/binary_models.csv` lists that is best on validation images with the first seed. Of the weights
of the MNIST network, of 32 and 64 filters, 88 % are ±1; those of its last layer are float.
"""


def _percent(row: dict[str, str] | None) -> str:
    return "" if row is None else f"{100 * float(row['test']):.1f}"


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--networks", nargs="*", default=list(keras_networks.NETWORKS))
    known = ["float", "vgg", "bireal"]
    parser.add_argument("--policies", nargs="*", default=known, choices=known)
    parser.add_argument("--epochs", type=int, default=8, help="of the ten networks")
    parser.add_argument("--accuracy", choices=list(ACCURACY), help="measure accuracy on a data set")
    parser.add_argument("--data-dir", help="folder with mnist.npz, or with CIFAR-10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", nargs="*", type=float, default=list(RATES), help="to try with seed 0")
    parser.add_argument("--report", action="store_true", help="print the tables of all runs")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page(), encoding="utf-8")
        return
    if options.report:
        print(report())
        return
    done: set[Any] = set()
    for r in read():
        done.add((r["task"], r["network"], r["policy"], r["seed"]))
        done.add((r["task"], r["network"], r["policy"], r["seed"], r["learning_rate"]))
    if options.accuracy:
        run_accuracy(
            options.accuracy, options.data_dir, options.seeds, options.policies, done, options.rates
        )
    else:
        run_networks(options.networks, options.policies, options.epochs, done)


if __name__ == "__main__":
    main()

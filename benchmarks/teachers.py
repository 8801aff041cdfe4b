"""What a teacher, a warm start and two steps are worth: the same binary network trained in several ways.

    KERAS_BACKEND=jax python benchmarks/teachers.py --datasets digits --seeds 10
    KERAS_BACKEND=jax python benchmarks/teachers.py --datasets mnist --data-dir data --seeds 5
    KERAS_BACKEND=jax python benchmarks/teachers.py --datasets cifar10 --data-dir data --seeds 5
    python benchmarks/teachers.py --report

Networks, images, order, batch size, epochs and optimizer are those of `accuracy.py --preset tiny`, with
the learning rate 0.01, which is the best there without a teacher. The teacher is the same network with
float kernels and ReLU, trained as long; every seed has its own. What counts is the network of signs on
all test images. A row is added to `teachers.csv` after every run, and a run whose row is there is not run
again.

The report says of every way by how much it differs from training without a teacher, seed by seed, with
the standard error of the mean difference: less than two of them is noise.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
RESULTS = HERE / "teachers.csv"
COLUMNS = ("dataset", "way", "seed", "test", "cpu_seconds", "backend")

#: From the name of a way to how the student is trained: arguments of `Distillation`, of the schedules,
#: and whether it starts from the teacher's weights. "labels" is the plain training that all are compared
#: with.
WAYS: dict[str, dict[str, Any]] = {
    "labels": {},
    "teacher, T = 1": {"teacher": {"temperature": 1.0}},
    "teacher, T = 4": {"teacher": {"temperature": 4.0}},
    "teacher, T = 4, weight 9": {"teacher": {"temperature": 4.0, "weight": 9.0}},
    "teacher, T = 4, attention": {"teacher": {"temperature": 4.0, "feature_weight": 1.0}},
    "warm start": {"warm": True},
    "warm start, teacher, T = 4": {"warm": True, "teacher": {"temperature": 4.0}},
    "activations first": {"steps": ((0.0, 0.4), (0.35, 0.75))},
    "kernels first": {"steps": ((0.35, 0.75), (0.0, 0.4))},
}
RATE = 1e-2


def run(way: dict[str, Any], setting: Any, seed: int, data: Any, teacher: Any, epochs: int) -> Any:
    """Trains a student in that way; returns the hard network."""
    import accuracy
    import keras
    from accuracy_data import Batches
    from accuracy_methods import METHODS
    from accuracy_networks import build

    import keras_sbn

    class KerasBatches(Batches, keras.utils.PyDataset):
        pass

    keras.utils.set_random_seed(seed)
    student = build(setting.network, METHODS["own-logits"].kit(), data.shape)
    if way.get("warm"):
        start_from(student, teacher)
    model = student
    if "teacher" in way:
        features = pairs(student, teacher) if "feature_weight" in way["teacher"] else None
        model = keras_sbn.training.Distillation(student, teacher, features=features, **way["teacher"])
    schedules = {}
    if "steps" in way:
        (first, last), (begin, end) = way["steps"]
        make = keras_sbn.schedules.Exponential
        schedules = {
            "activation_schedule": make(begin_at=first, end_at=last),
            "schedule": make(begin_at=begin, end_at=end),
        }
    model.compile(
        keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rates = accuracy.learning_rates(RATE, epochs)
    batches = KerasBatches(*data.train, setting.batch_size, seed, setting.shift, setting.flip)
    model.fit(
        batches,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]),
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.begin(epoch)),
            keras_sbn.callbacks.Sharpen(**schedules),
        ],
    )
    return student


def of_kind(model: Any, *parts: str) -> list[Any]:
    """The layers whose class has one of these parts in its name."""
    return [layer for layer in model.layers if any(part in type(layer).__name__ for part in parts)]


def start_from(student: Any, teacher: Any) -> None:
    """Starts the latent kernels from the teacher's."""
    import keras

    for mine, other in zip(
        of_kind(student, "Conv2D", "Dense"), of_kind(teacher, "Conv2D", "Dense"), strict=True
    ):
        # A copy: JAX arrays that two models share are lost where one trains.
        mine.kernel.assign(keras.ops.convert_to_numpy(other.kernel))


def pairs(student: Any, teacher: Any) -> dict[str, str]:
    """The outputs of the batch normalizations of maps, before the activations."""
    both = zip(
        of_kind(student, "BatchNormalization"), of_kind(teacher, "BatchNormalization"), strict=True
    )
    return {mine.name: other.name for mine, other in both if len(mine.output.shape) == 4}


def measure(dataset: str, ways: list[str], seeds: int, data_dir: str | None, epochs: int | None) -> None:
    """Runs what is not in the file of results."""
    import accuracy
    import keras
    from accuracy_data import load
    from accuracy_methods import METHODS
    from accuracy_networks import build

    setting = next(one for one in accuracy.PRESETS["tiny"] if one.dataset == dataset)
    done = {(row["dataset"], row["way"], row["seed"]) for row in rows()}
    data = load(
        dataset,
        data_dir,
        train=setting.train,
        validation=setting.validation,
        half_size=setting.half_size,
    )
    for seed in range(seeds):
        left = [way for way in ways if (dataset, way, str(seed)) not in done]
        if not left:
            continue
        keras.utils.set_random_seed(1000 + seed)
        teacher = build(setting.network, METHODS["float-relu"].kit(), data.shape)
        accuracy.train(teacher, setting, METHODS["float-relu"], 3e-3, 1000 + seed, data)
        if (dataset, "float", str(seed)) not in done:
            add(dataset, "float", seed, accuracy.share_right(teacher, *data.test), 0.0)
        for way in left:
            begun = time.process_time()
            student = run(WAYS[way], setting, seed, data, teacher, epochs or setting.epochs)
            share = accuracy.share_right(student, *data.test)
            add(dataset, way, seed, share, time.process_time() - begun)


def add(dataset: str, way: str, seed: int, share: float, seconds: float) -> None:
    """Adds a row to the file of results."""
    import keras

    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow((dataset, way, seed, f"{share:.4f}", f"{seconds:.1f}", keras.backend.backend()))
    print(f"{dataset}, {way}, seed {seed}: {100 * share:.2f} % ({seconds:.1f} s)", flush=True)


def rows() -> list[dict[str, str]]:
    """The rows of the file of results."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def report(found: list[dict[str, str]]) -> str:
    """The table of the ways, for Markdown."""
    shares: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in found:
        shares[row["dataset"], row["way"]][row["seed"]] = 100 * float(row["test"])
    datasets = list(dict.fromkeys(row["dataset"] for row in found))
    lines = []
    for dataset in datasets:
        lines += [
            "",
            f"| {dataset} | seeds | test accuracy | against labels alone |",
            "|---|---|---|---|",
        ]
        plain = shares[dataset, "labels"]
        for way in ("float", *WAYS):
            one = shares.get((dataset, way))
            if not one:
                continue
            difference = ""
            if way not in ("float", "labels"):
                both = [one[seed] - plain[seed] for seed in one if seed in plain]
                difference = f"{statistics.fmean(both):+.2f} ± {_error(both)}"
            mean = f"{statistics.fmean(one.values()):.2f} ± {_error(list(one.values()))} %"
            lines.append(f"| {way} | {len(one)} | {mean} | {difference} |")
    return "\n".join(lines).strip()


def _error(values: list[float]) -> str:
    if len(values) < 2:
        return "?"
    return f"{statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def main(arguments: list[str] | None = None) -> None:
    """Measures, or reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--datasets", nargs="+", default=["digits"], choices=("digits", "mnist", "cifar10")
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--data-dir", help="folder with mnist.npz, or with CIFAR-10 as accuracy.py takes it"
    )
    parser.add_argument("--epochs", type=int, help="of a student, instead of the preset's")
    parser.add_argument("--report", action="store_true", help="print the table of what was run")
    options = parser.parse_args(arguments)
    if options.report:
        print(report(rows()))
        return
    sys.path.insert(0, str(HERE))
    for dataset in options.datasets:
        measure(dataset, options.ways, options.seeds, options.data_dir, options.epochs)


if __name__ == "__main__":
    main()

"""What methods of the accuracy benchmark have of their own: bounds, centered kernels, rates, recipes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import accuracy
import accuracy_report
import keras
import layer_cases
import moving_bound
import numpy as np
import pytest
import straight_through
from accuracy_methods import METHODS, with_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
SETTING = accuracy.Setting("digits", "digits", 4, 2, None, 0, 1)


@pytest.mark.parametrize("name", ["bound-grows", "bound-shrinks"])
@pytest.mark.parametrize("nu", [1.0, 9.0, 100.0, np.inf])
def test_the_gradient_is_that_of_the_moving_bound(name, nu):
    bound = METHODS[name].options["bound"]
    x = np.array([-0.9, -0.2, 0.0, 0.4], "float32")
    root = np.sqrt(min(nu, 1e4))
    taken = min(max(root, 1), 5) if bound == "grows" else min(max(5 / root, 1), 5)
    taken = min(taken, nu)
    expected = taken * (1 - np.tanh(taken * x) ** 2)
    (found,) = layer_cases.gradients(
        lambda x: keras.ops.sum(moving_bound.soft_sign(x, np.float32(nu), bound)), x
    )
    # 1 - t^2 near 0 is a difference of float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    value = keras.ops.convert_to_numpy(moving_bound.soft_sign(x, np.float32(nu), bound))
    forward = np.where(x >= 0, 1, -1) if np.isinf(nu) else np.tanh(nu * x)
    np.testing.assert_allclose(value, forward, rtol=1e-6)


def test_signs_of_centered_kernels_are_those_of_the_kernel_without_its_mean(rng):
    for name in ("ours-centered", "approx-centered"):
        kit = METHODS[name].kit()
        layer = kit.dense(3)
        layer.build((None, 8))
        layer.kernel.assign(rng.normal(2, 1, (8, 3)))
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        model = keras.Sequential([keras.Input((8,)), layer])
        if isinstance(layer, straight_through.CenteredDense):
            layer.kernel_sharpness.assign(np.inf)
        stored = accuracy.signs_of_kernels(model)[0]
        np.testing.assert_array_equal(stored, np.where(kernel - kernel.mean(0) >= 0, 1, -1))
        assert (stored < 0).any(axis=0).all(), "the kernels themselves are mostly positive"


def test_the_learning_rate_rises_with_the_root_of_the_sharpness():
    plain = accuracy.learning_rates(0.1, 4)
    assert accuracy.rates_of(SETTING, METHODS["ours"], 0.1) == plain
    method = METHODS["exact-10-rate"]
    schedule = method.scheduling()["schedule"]
    expected = [rate * schedule(epoch / 4) ** 0.5 for epoch, rate in enumerate(plain)]
    assert accuracy.rates_of(SETTING, method, 0.1) == pytest.approx(expected)
    assert method.rate_factor(1.0) == pytest.approx(10**0.5), "finite where the network is hard"


@pytest.mark.parametrize("epochs", [1, 2, 15, 40])
def test_one_cycle_rises_from_a_tenth_and_falls_to_nothing(epochs):
    setting = dataclasses.replace(SETTING, epochs=epochs)
    rates = accuracy.rates_of(setting, with_recipe(METHODS["approx"], ("one-cycle",)), 0.2)
    assert rates == accuracy.one_cycle(0.2, epochs)
    top = int(np.ceil(0.3 * epochs))
    assert len(rates) == epochs
    assert rates[0] == pytest.approx(0.02)
    assert all(np.diff(rates[: top + 1]) > 0)
    assert all(np.diff(rates[top:]) < 0)
    assert max(rates) <= 0.2
    if epochs == 40:
        assert rates[12] == 0.2
        assert rates[26] == pytest.approx(0.1), "half way down"


def test_a_recipe_is_in_name_hash_and_graph_and_keeps_the_family():
    plain = METHODS["approx"]
    changed = with_recipe(plain, ("cutmix", "smooth"))
    assert changed.name == "approx+cutmix+smooth"
    assert with_recipe(plain, ()) is plain
    assert accuracy.config_hash(SETTING, changed) != accuracy.config_hash(SETTING, plain)
    assert changed.graph != plain.graph
    assert accuracy_report._family(changed.name) == "straight-through"
    assert changed.kit()._activation == "approx"


def test_equal_steps_have_equal_graphs():
    own = ("own-logits", "own-logits-hard-start")
    schedules = (*own, "nu-100", "held-3", "soft-kernels", "no-rest")
    assert len({METHODS[name].graph for name in schedules}) == 1
    assert METHODS["ours"].graph == METHODS["hard-start"].graph
    others = (
        "ours",
        "own-logits",
        "gradient-2",
        "exact",
        "approx",
        "ste",
        "bound-grows",
        "ours-centered",
    )
    assert len({METHODS[name].graph for name in others}) == len(others)


#: Shares of runs and what CutMix does, in a process with JAX.
CODE = """
import json, sys
import jax, numpy as np
import run
from accuracy import PRESETS
from accuracy_methods import METHODS
from on_device import softened

names = ("own-logits", "nu-100", "approx", "ste", "float-relu")
units = [(setting, METHODS[name]) for setting in PRESETS["full"] for name in names]
keys = lambda part: [[setting.network, method.name] for setting, method in part]
shares = {n: [keys(run.share_of(units, i, n)) for i in range(n)] for n in (1, 3, 7, 40)}

x = np.arange(4, dtype="float32")[:, None, None, None] * np.ones((4, 8, 8, 1), "float32")
y = np.eye(10, dtype="float32")[:4]
mixed = []
for seed in range(40):
    images, classes = softened(x, y, jax.random.key(seed), ("cutmix",))
    own = np.mean(np.asarray(images) == x, axis=(1, 2, 3))
    other = np.mean(np.asarray(images) == x[::-1], axis=(1, 2, 3))
    classes = np.asarray(classes)
    shares_of_class = classes[np.arange(4), np.arange(4)], classes[np.arange(4), 3 - np.arange(4)]
    unlike = max(np.abs(own - shares_of_class[0]).max(), np.abs(other - shares_of_class[1]).max())
    mixed.append([float(own[0]), float(unlike), float(np.abs(classes.sum(1) - 1).max())])
images = []
run.load = lambda *names, **more: images.append([names[0], more["train"], more["half_size"]])
for preset, network in (("small", "vgg32"), ("small", "mnist-small"), ("medium", "binarynet-8")):
    given = run.parser().parse_args(["--data-dir", "x", "--preset", preset, "--networks", network])
    run.data_of(run.settings_of(given)[0], given)
same, smooth = softened(x, y, jax.random.key(0), ("smooth",))
print(json.dumps({"units": keys(units), "shares": shares, "mixed": mixed,
    "smooth": [float(np.asarray(smooth)[0, 0]), float(np.asarray(smooth)[0, 1])], "images": images}))
"""


def test_runs_are_shared_whole_and_mixed_images_have_mixed_classes():
    pytest.importorskip("jax")
    paths = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "accelerator")]
    code = f"import sys; sys.path[:0] = {paths}\n{CODE}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    for parts in found["shares"].values():
        together = [tuple(unit) for part in parts for unit in part]
        assert sorted(together) == sorted(map(tuple, found["units"])), "each unit in one part"
    methods = {tuple(unit): index for index, part in enumerate(found["shares"]["3"]) for unit in part}
    assert abs(methods["resnet20", "own-logits"] - methods["resnet20", "nu-100"]) <= 1
    owns, unlike, sums = map(np.array, zip(*found["mixed"], strict=True))
    assert unlike.max() < 1e-6
    assert sums.max() < 1e-6
    assert 5 < np.count_nonzero(owns == 1) < 35, "about half of the batches stay as they are"
    assert owns.min() < 0.7
    small = [["cifar10", 15_000, True], ["mnist", 20_000, True]]
    assert found["images"] == [*small, ["cifar10", 20_000, False]]
    assert found["smooth"] == pytest.approx([0.91, 0.01])

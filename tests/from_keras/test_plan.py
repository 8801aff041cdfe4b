"""Plans within a budget: costs against the network as built, the search against all combinations."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.from_keras.plan import Choice, _chosen, _front
from keras_sbn.from_keras.sensitivity import Cost, Samples, Sensitivity, cost_of, measure


@pytest.fixture(scope="module")
def problem():
    """A table of three classes that a small network has learned."""
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(3, 8)) * 2
    y = rng.integers(0, 3, 300)
    x = (centres[y] + rng.normal(size=(300, 8))).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="relu", name="wide"),
            keras.layers.Dense(64, activation="relu", name="large"),
            keras.layers.Dense(3, activation="softmax", name="last"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        "sparse_categorical_crossentropy",
        jit_compile=keras.backend.backend() == "jax",
    )
    model.fit(x, y, epochs=8, verbose=0)
    return model, x, y


@pytest.fixture(scope="module")
def plan(problem):
    model, x, y = problem
    before = model.get_weights()
    found = keras_sbn.plan(model, size=2600, data=(x, y), steps=4)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    return found


def test_the_plan_is_a_policy_within_the_budget(problem, plan):
    model, _, _ = problem
    result = keras_sbn.binary_model(model, policy=plan)
    precisions = {
        row.name: row.precision for row in result.layers if row.precision in ("binary", "int8", "float")
    }
    assert [precisions[row.name] for row in plan.layers] == list(plan.chosen.precisions)
    int8 = frozenset(name for name, precision in precisions.items() if precision == "int8")
    assert cost_of(result.model, int8) == Cost(plan.chosen.bytes, plan.chosen.macs)
    assert plan.chosen.bytes <= 2600 < plan.float_bytes
    assert "binary" in plan.chosen.precisions, "int8 alone takes 2892 bytes"
    assert 0 <= plan.measured_accuracy <= 1
    assert plan.samples == 60
    with pytest.raises(ValueError, match="Expected a layer of the network that was planned"):
        plan(keras.layers.Dense(3, name="other"))


def test_the_table_and_the_plot_say_what_was_measured(plan, tmp_path):
    text = str(plan)
    for row, chosen in zip(plan.layers, plan.chosen.precisions, strict=True):
        (line,) = [line for line in text.splitlines() if line.startswith(row.name)]
        assert f" {chosen} " in line
        assert f"{100 * row.losses['int8']:+.1f}" in line
    assert "after 4 batches of learning from the float network" in text
    loose = replace(plan.chosen, precisions=("int8",) * len(plan.layers))
    assert "no layer has to be binary for that" in str(replace(plan, chosen=loose))
    assert "no layer has" not in text
    pytest.importorskip("matplotlib")
    assert plan.plot(tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_int8_is_the_kernel_rounded_and_put_back(problem):
    model, x, y = problem
    samples = Samples(x, x, y)
    layer = model.get_layer("large")
    kernel = np.array(layer.kernel)
    found = measure(model, layer, ("int8",), samples, 0, 64, 1.0, cost_of(model))
    np.testing.assert_array_equal(np.array(layer.kernel), kernel)
    assert set(found.losses) == {"int8"}
    assert found.bytes == {"int8": -3 * 32 * 64}
    scale = np.abs(kernel).max(axis=0) / 127
    layer.kernel.assign((np.round(kernel / scale) * scale).astype("float32"))
    right = float(np.mean(model.predict(x, verbose=0).argmax(-1) == y))
    layer.kernel.assign(kernel)
    assert found.losses["int8"] == pytest.approx(1 - right)


def sensitivities(rng, count):
    rows = []
    for index in range(count):
        size = float(rng.integers(100, 1000))
        macs = int(rng.integers(100, 1000))
        rows.append(
            Sensitivity(
                f"layer{index}",
                "Dense",
                {"float": 0.0, "int8": -0.75 * size, "binary": -0.95 * size},
                {"float": 0, "int8": 0, "binary": -macs},
                {"float": 0.0, "int8": rng.uniform(-0.01, 0.02), "binary": rng.uniform(0, 0.3)},
                {},
            )
        )
    return rows


@pytest.mark.parametrize("with_macs", [False, True])
def test_the_search_finds_the_best_of_all_combinations(rng, with_macs):
    rows = sensitivities(rng, 5)
    front = _front(rows, Cost(6000.0, 6000), 1.0, with_macs)
    every = []
    for way in itertools.product(("float", "int8", "binary"), repeat=5):
        pairs = list(zip(rows, way, strict=True))
        every.append(
            Choice(
                way,
                6000 + sum(row.bytes[one] for row, one in pairs),
                6000 + sum(row.macs[one] for row, one in pairs),
                1 - sum(row.losses[one] for row, one in pairs),
            )
        )
    for size, macs in itertools.product((4500, 5000, 5500), (4000, 5000, 10**9)):

        def fits(one, size=size, macs=macs):
            return one.bytes <= size and (not with_macs or one.macs <= macs)

        best = max((one.accuracy for one in every if fits(one)), default=None)
        found = max((one.accuracy for one in front if fits(one)), default=None)
        assert found == pytest.approx(best, abs=1e-4)


def test_a_budget_that_cannot_be_met_says_the_least(problem, plan):
    model, _, _ = problem
    for budget, named in (({"size": 10.0}, "size=10 bytes"), ({"macs": 0}, "macs=0")):
        limits = {"size": None, "macs": None, **budget}
        with pytest.raises(ValueError, match=named) as error:
            _chosen(model, plan.layers, plan.front, **limits)
        assert "Make the model narrower, or allow more" in str(error.value)
    smallest = min(one.bytes for one in plan.front)
    said = str(error.value)
    number = float(said.split("the smallest network takes ")[1].split(" bytes")[0].replace(",", ""))
    assert number == pytest.approx(smallest, rel=0.2)
    assert keras_sbn.from_keras.plan._chosen(model, plan.layers, plan.front, number + 1, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precisions": ("ternary",)}, "`precisions` to be some of"),
        ({"size": -1}, "`size` to be 0 or more"),
        ({"steps": -1}, "`steps` of 0 or more"),
        ({"data": None}, "`data` to measure with"),
        ({"data": [1, 2, 3]}, r"`data` to be \(x, y\)"),
        ({"data": (np.ones((4, 8)), np.ones((4, 3)))}, r"one-hot classes take y.argmax\(-1\)"),
    ],
)
def test_arguments_that_make_no_sense(problem, arguments, message):
    model, x, y = problem
    with pytest.raises(ValueError, match=message):
        keras_sbn.plan(model, **{"data": (x, y), **arguments})


def test_a_model_without_layers_that_can_be_binary(problem):
    _, x, y = problem
    model = keras.Sequential([keras.Input((8,)), keras.layers.Softmax()])
    with pytest.raises(ValueError, match="which has none"):
        keras_sbn.plan(model, data=(x, y))

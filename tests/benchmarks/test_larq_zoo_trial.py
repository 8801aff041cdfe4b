"""How the trial of the Larq Zoo tells a tie of rounding from an error."""

import keras
import larq_zoo_trial as trial
import numpy as np

import keras_sbn


def test_a_sign_that_differs_is_a_tie_only_within_the_rounding():
    exact = {"a": np.array([1e-8, -2.0, 3.0, 0.0]), "b": np.array([0.0, 1.0])}
    rounding = {"a": 1e-6, "b": 0.0}
    same = {name: values >= 0 for name, values in exact.items()}
    assert trial.compare_signs(same, exact, rounding)["turned"] == 0
    first, second = {"a": same["a"].copy(), "b": same["b"].copy()}, {"a": same["a"], "b": ~same["b"]}
    first["a"][[0, 1]] ^= True
    found = trial.compare_signs(first, exact, rounding)
    assert (found["compared"], found["turned"], found["ties"]) == (6, 2, 1)
    assert found["layers"]["a"]["margin"] == 2.0
    # Where Larq rounds nothing, an exact 0 is no tie.
    found = trial.compare_signs(second, exact, rounding)
    assert (found["turned"], found["ties"]) == (2, 0)


def test_forced_layers_read_the_signs_they_are_given(rng):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras_sbn.layers.SelfBinarizingActivation(name="first"),
            keras_sbn.layers.SelfBinarizingDense(5, name="dense"),
            keras.layers.BatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(name="second"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    keras_sbn.binarize(model)
    folded, trace = keras_sbn.fold(model, trace=True)
    x = rng.normal(size=(4, 8)).astype("float32")
    other = -x
    kernel = np.where(np.asarray(model.get_layer("dense").kernel) >= 0, 1.0, -1.0)
    expected = np.where(other >= 0, 1.0, -1.0) @ kernel >= 0
    places = {trace.signs[name]: [name] for name in ("first", "second")}
    signs = trial.forced_folded(folded, x, places, {"first": other, "second": np.ones((4, 5))})
    np.testing.assert_array_equal(signs["first"], x >= 0)
    np.testing.assert_array_equal(signs["second"], expected)
    assert (signs["second"] != (np.where(x >= 0, 1.0, -1.0) @ kernel >= 0)).any()


def test_the_table_has_a_row_a_network():
    sides = {"larq": 2_000, "ours": 1_000}
    row = {
        "network": "Net",
        "bytes": sides,
        "binary_layers": {"larq": 1, "ours": 2},
        "ms": {"larq": 1.0, "ours": 2.0},
        "relative_difference": {"larq_file": 1e-1, "file": 1e-7},
        "forced": {"compared": 5_000, "turned": 3, "ties": 1},
        "free": {"turned": 40},
    }
    *_, last = trial.markdown([row]).splitlines()
    assert last == "| Net | 2,000 | 1,000 | 1 / 2 | 1e-01 | 1e-07 | 5,000 | 2 | 1 | 40 | 1 / 2 |"
    assert trial.markdown([{"network": "Net", "failure": "one\ntwo"}]).endswith("| Net | two |")

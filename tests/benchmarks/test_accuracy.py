"""The accuracy benchmark: data, runs of every family, resuming, choice of the rate, table and plot."""

import csv
from dataclasses import replace

import accuracy
import accuracy_pages
import accuracy_report
import keras
import numpy as np
import pytest
from accuracy_data import Batches, Data, load
from accuracy_methods import METHODS, Method
from accuracy_networks import CHAINS, RESIDUAL, build

from keras_sbn import models
from keras_sbn.callbacks import Sharpen

SETTING = replace(
    accuracy.PRESETS["tiny"][0], network="test", epochs=1, batch_size=16, seeds=2, sweep_seeds=1
)


@pytest.fixture(autouse=True)
def _network(monkeypatch):
    monkeypatch.setitem(CHAINS, "test", ((4, "M"), (6,)))


@pytest.fixture
def data(rng):
    x = rng.integers(-128, 128, (48, 8, 8, 1)).astype("float32") / 128
    y = rng.integers(0, 10, 48)
    return Data((x, y), (x[:10], y[:10]), (x[:20], y[:20]))


@pytest.mark.parametrize("name", ["float-relu", "approx", "approx-recipe", "ours"])
def test_a_run_of_every_family_measures_the_network_of_signs(name, data):
    measured = accuracy.run(SETTING, METHODS[name], 1e-2, 0, data)
    for column in ("validation", "test", "validation_reestimated", "test_reestimated"):
        assert 0 <= float(measured[column]) <= 1
    if name == "float-relu":
        assert "folded_unlike_hard" not in measured
    else:
        assert measured["folded_unlike_hard"] == "0"
    assert ("soft_unlike_hard" in measured) == (METHODS[name].family == "ours")


def test_equal_seeds_give_equal_runs_and_others_do_not(data):
    losses = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        model = build("test", METHODS["float-tanh"].kit(), data.shape)
        losses.append(accuracy.train(model, SETTING, METHODS["float-tanh"], 1e-2, seed, data).losses)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_straight_through_network_is_the_hard_one_with_its_weights(data):
    model = build("test", METHODS["approx"].kit(), data.shape)
    accuracy.train(model, SETTING, METHODS["approx"], 1e-2, 0, data)
    hard = accuracy.as_self_binarizing(
        accuracy.own_weights(model), SETTING, data.shape, METHODS["approx"]
    )
    np.testing.assert_array_equal(
        model.predict(data.test[0], verbose=0), hard.predict(data.test[0], verbose=0)
    )


def test_rows_are_found_again_and_a_changed_setting_is_another_run(tmp_path, data, monkeypatch):
    runs = []

    def run(setting, method, rate, seed, data, steps, pieces):
        runs.append((rate, seed))
        return {"validation": f"{rate + seed / 100:.4f}", "test": "0.5", "cpu_seconds": "0.0"}

    monkeypatch.setattr(accuracy, "run", run)
    results = accuracy.Results(tmp_path / "rows.csv")
    setting = replace(SETTING, learning_rates=(0.1, 0.3, 0.2))
    for _ in range(2):
        accuracy.sweep_and_run(results, "tiny", setting, METHODS["ours"], 3, data)
    assert runs == [(0.1, 0), (0.3, 0), (0.2, 0), (0.3, 1), (0.3, 2)]
    accuracy.sweep_and_run(results, "tiny", replace(setting, epochs=2), METHODS["ours"], 1, data)
    assert len(runs) == 8
    with results.path.open() as file:
        assert len(list(csv.DictReader(file))) == 8


def test_the_hash_knows_options_and_settings_but_not_the_number_of_seeds():
    base = accuracy.config_hash(SETTING, METHODS["ours"])
    assert accuracy.config_hash(replace(SETTING, seeds=9), METHODS["ours"]) == base
    assert accuracy.config_hash(replace(SETTING, flip=True), METHODS["ours"]) != base
    other = Method("ours", "ours", "", {"kernel": {"max_gradient_sharpness": 2.0}})
    assert accuracy.config_hash(SETTING, other) != base


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_builds_and_has_its_own_hash(method):
    model = build("test", method.kit(), (8, 8, 1))
    assert model.output_shape == (None, 10)
    if method.sharpens:
        Sharpen(**method.scheduling())
    hashes = {accuracy.config_hash(SETTING, other) for other in METHODS.values()}
    assert len(hashes) == len(METHODS)


def row(method, rate, seed, validation, test, config="a", **more):
    columns = dict.fromkeys(accuracy.COLUMNS, "")
    columns.update(preset="tiny", dataset="digits", network="digits", method=method, config=config)
    columns.update(learning_rate=str(rate), seed=str(seed), validation=str(validation), test=str(test))
    return {**columns, **more}


def test_the_rate_is_chosen_by_validation_and_old_settings_do_not_count():
    rows = [
        row("ours", 0.01, 0, 0.1, 0.2, config="old"),
        row("ours", 0.01, 0, 0.9, 0.5, soft_unlike_hard="3"),
        row("ours", 0.1, 0, 0.8, 0.99),
        row("ours", 0.01, 1, 0.7, 0.6, soft_unlike_hard="1"),
    ]
    (figure,) = accuracy_report.figures(rows, "tiny")["digits (digits)"]
    assert figure.learning_rate == "0.01"
    assert figure.test == (50.0, 60.0)
    assert figure.differing == 3
    assert figure.standard_error == pytest.approx(5.0)
    assert "55.00 ± 7.07" in accuracy_report.table(rows, "tiny")
    assert accuracy_report.table(rows, "paper") == "No results of preset paper yet."
    rows.append(row("ours", 0.03, 0, 0.95, 0.1))
    (figure,) = accuracy_report.figures(rows, "tiny")["digits (digits)"]
    assert figure.learning_rate == "0.01", "where the other seeds are"


def test_the_plot_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [row("ours", 0.01, seed, 0.9, 0.9 + seed / 100) for seed in range(2)]
    rows.append(row("exact", 0.01, 0, 0.3, 0.3))
    accuracy_report.plot(rows, "tiny", tmp_path / "images" / "plot.png")
    assert (tmp_path / "images" / "plot.png").read_bytes()[1:4] == b"PNG"


def test_batches_are_the_same_for_a_seed_and_keep_the_pixels(rng):
    images = rng.normal(size=(10, 6, 6, 2)).astype("float32")
    labels = np.arange(10)
    one, same = (Batches(images, labels, 4, 7, shift=1, flip=True) for _ in range(2))
    assert len(one) == 2
    for index in range(2):
        np.testing.assert_array_equal(one[index][0], same[index][0])
    before = one[0][0]
    one.begin(1)
    assert not np.array_equal(before, one[0][0])
    plain = Batches(images, labels, 5, 7)
    x, y = plain[1]
    np.testing.assert_array_equal(x, images[y])
    shifted, y = Batches(images, labels, 10, 7, shift=1)[0]
    assert any(
        np.array_equal(shifted[0, 1:-1, 1:-1], images[y[0], 1 + dy : 5 + dy, 1 + dx : 5 + dx])
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    )


def test_the_splits_are_disjoint_and_half_size_averages():
    pytest.importorskip("sklearn")
    found = load("digits", None, train=1000, validation=300, half_size=False)
    assert found.shape == (8, 8, 1)
    assert [len(part[1]) for part in (found.train, found.validation, found.test)] == [1000, 300, 360]
    train = {image.tobytes() for image in found.train[0]}
    shared = sum(image.tobytes() in train for image in found.validation[0])
    assert shared == 0
    half = load("digits", None, train=1000, validation=300, half_size=True)
    assert half.shape == (4, 4, 1)
    block = (found.train[0][0, :2, :2, 0].mean() + 1) * 128
    assert abs((half.train[0][0, 0, 0, 0] + 1) * 128 - block) <= 0.5


def test_local_files_are_read(tmp_path, rng, monkeypatch):
    images = rng.integers(0, 256, (8, 28, 28)).astype("uint8")
    labels = np.arange(8).astype("uint8")
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    found = load("mnist", tmp_path, train=4, validation=4, half_size=True)
    assert found.shape == (14, 14, 1)
    assert sorted([*found.train[1], *found.validation[1]]) == list(range(8))

    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("accuracy_data.CACHE", tmp_path / "cache")
    for split in ("train", "test"):
        for label, name in enumerate(("airplane", "bird")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                pillow.fromarray(np.full((32, 32, 3), 100 * label + i, "uint8")).save(folder / f"{i}.png")
    for _ in range(2):  # the second time from the cache
        found = load("cifar10", tmp_path, train=None, validation=1, half_size=False)
        assert len(found.train[1]) == 3
        assert sorted(found.test[1]) == [0, 0, 1, 1]
        assert found.test[0].max() == np.float32(101 / 128 - 1)


def test_what_is_missing_is_named(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz"):
        load("mnist", tmp_path, train=1, validation=1, half_size=False)
    with pytest.raises(ValueError, match="at most"):
        load("digits", None, train=5000, validation=1, half_size=False)
    with pytest.raises(ValueError, match="data set of"):
        load("faces", None, train=1, validation=1, half_size=False)
    with pytest.raises(SystemExit, match="Expected methods of"):
        accuracy.main(["--methods", "magic"])


def test_the_command_reports_a_file_of_results(tmp_path, capsys):
    results = accuracy.Results(tmp_path / "rows.csv")
    results.append(row("ours", 0.01, 0, 0.9, 0.8765))
    accuracy.main(["--report", "--results", str(results.path)])
    assert "87.65" in capsys.readouterr().out


def test_the_committed_results_are_read_and_no_fold_differs():
    rows = accuracy.Results(accuracy.RESULTS).rows()
    found = accuracy_report.figures(rows, "tiny")
    assert {"ours", "approx"} <= {figure.method for panel in found.values() for figure in panel}
    # "ours+cutmix": a method with a part of a recipe.
    binary = [row for row in rows if METHODS[row["method"].partition("+")[0]].family != "float"]
    assert {row["folded_unlike_hard"] for row in binary if row["preset"] in ("tiny", "small")} == {"0"}
    # Networks of an accelerator that were measured quickly, as their files, have neither column.
    quick = [row for row in binary if not row["test_reestimated"]]
    assert {row["folded_unlike_hard"] for row in quick} == {""}
    whole = [row for row in binary if row["test_reestimated"]]
    assert {row["folded_unlike_hard"] for row in whole if row["network"] in CHAINS} == {"0"}
    # Signs of float sums, which the folded network rounds otherwise: of 10,000 images.
    assert max(int(row["folded_unlike_hard"]) for row in whole if row["network"] in RESIDUAL) <= 4
    assert all("at once; seconds on the wall" in row["backend"] for row in quick)


@pytest.mark.parametrize(
    ("network", "differing", "fails"),
    [("digits", 0, False), ("digits", 1, True), ("resnet20", 2, False), ("resnet20", 3, True)],
)
def test_larqs_network_says_what_the_hard_one_does(network, differing, fails, monkeypatch):
    """All of it, where every layer is binary; where signs of float sums are taken, but 4 of 10,000."""
    logits = np.zeros((5_000, 10))
    found = np.zeros(5_000, int)
    found[:differing] = 1
    trained = {"test": logits, "loss": [0.5], "cpu_seconds": 1.0}
    monkeypatch.setattr(accuracy, "train_in_larq", lambda *arguments: trained)
    monkeypatch.setattr(accuracy, "as_self_binarizing", lambda *arguments: None)
    monkeypatch.setattr(accuracy, "classes", lambda *arguments: found)
    monkeypatch.setattr(accuracy, "measure_hard", lambda *arguments: {"test": 0.5})
    model = keras.Sequential([keras.Input((2,)), keras.layers.Flatten()])
    data = Data((logits, found), (logits, found), (logits, found))
    setting = replace(SETTING, network=network)
    arguments = (setting, METHODS["larq-ste"], 1e-2, 0, data, model, None, None)
    if fails:
        with pytest.raises(RuntimeError, match=f"Received: {differing} test images"):
            accuracy._run_larq(*arguments)
    else:
        assert accuracy._run_larq(*arguments)["test"] == 0.5


@pytest.mark.parametrize("path", accuracy_pages.PAGES, ids=lambda path: path.name)
def test_the_pages_have_the_figures_of_the_committed_results(path):
    rows = accuracy.Results(accuracy.RESULTS).rows()
    text = path.read_text()
    written = accuracy_pages.PAGES[path](text, rows)
    assert written == text, "python benchmarks/accuracy_pages.py writes them"


@pytest.mark.parametrize(
    ("name", "network", "lines"),
    # The appendix has the method's row, the setting's in the table of schedules, and two means there.
    [("accuracy.md", "resnet20", 1), ("accuracy_appendix.md", "resnet20", 4), ("README.md", "vgg32", 1)],
)
def test_another_figure_changes_its_cells_alone(name, network, lines):
    rows = accuracy.Results(accuracy.RESULTS).rows()
    changed = [dict(row) for row in rows]
    for row in changed:
        if (row["network"], row["method"]) == (network, "ours"):
            column = "test" if name == "README.md" else "test_reestimated"
            row[column] = str(float(row[column]) + 0.02)
    ((path, write),) = [page for page in accuracy_pages.PAGES.items() if page[0].name == name]
    text = path.read_text()
    found = write(text, changed)
    pairs = zip(text.splitlines(), found.splitlines(), strict=True)
    assert sum(line != other for line, other in pairs) == lines
    assert write(found, rows) == text


@pytest.mark.parametrize("method", ["ours", "hard-start", "own-logits", "own-logits-hard-start"])
def test_the_last_rows_of_the_default_are_of_its_settings(method):
    settings = {(name, each.network): each for name, part in accuracy.PRESETS.items() for each in part}
    rows = [row for row in accuracy.Results(accuracy.RESULTS).rows() if row["method"] == method]
    last = {(row["preset"], row["network"]): row["config"] for row in rows}
    assert len(last) > 5
    for place, config in last.items():
        # A run on an accelerator adds its policy: "5d8d7de8-float32-2".
        assert config.partition("-")[0] == accuracy.config_hash(settings[place], METHODS[method])


def test_the_logits_of_the_default_are_those_of_the_package():
    network = build("digits", METHODS["ours"].kit(), (8, 8, 1))
    logits = network.layers[-1]
    package = models.TinyConv((8, 8, 1), alpha=0.25).get_layer("logits")
    assert type(logits) is type(package)
    assert logits.momentum == package.momentum


def test_a_table_without_a_place_in_the_appendix_is_an_error():
    rows = accuracy.Results(accuracy.RESULTS).rows()
    text = (accuracy_pages.ROOT / "docs" / "accuracy_appendix.md").read_text()
    heading = rf"'\*\*{rows[-1]['dataset']} \(other\)"
    with pytest.raises(ValueError, match=f"Expected a table with the heading {heading}"):
        accuracy_pages.appendix(text, [*rows, {**rows[-1], "network": "other"}])


def test_how_far_a_method_is_ahead():
    def figure(method, *validation):
        return accuracy_report.Figure(method, "0.01", validation, (1.0, 2.0), (), (), None, None)

    panel = [figure("ours", 4.0, 6.0), figure("hard-start", 1.0, 2.0, 3.0), figure("nu-100", 9.0)]
    found = accuracy_pages.ahead(panel, "ours", "hard-start", "validation")
    # Variances 2 and 1, of means of 2 and of 3 runs.
    assert found == pytest.approx((3, (2 / 2 + 1 / 3) ** 0.5))
    assert accuracy_pages.ahead(panel, "ours", "hard-start", "reestimated") is None, "not measured"
    assert accuracy_pages.ahead(panel, "nu-100", "hard-start", "validation") is None, "one run"
    assert accuracy_pages.mean_of([found, None, (1.0, 0.0)]) == pytest.approx((2, found[1] / 2))


def test_the_default_is_bold_where_it_is_ahead_of_each_straight_through_variant():
    def figure(method, *reestimated):
        return accuracy_report.Figure(method, "0.01", (1.0,), reestimated, reestimated, (), None, None)

    ours, behind = figure("ours", 6.0, 6.5), figure("ste", 1.0, 1.5)
    assert accuracy_pages.is_ahead([ours, behind])
    assert accuracy_pages.is_ahead([ours, behind, figure("swish", 9.0)]), "one run has no error"
    assert not accuracy_pages.is_ahead([ours, behind, figure("approx", 5.5, 6.5)])
    assert not accuracy_pages.is_ahead([ours, figure("hard-start", 1.0, 1.5)]), "no straight-through"


def test_a_residual_network_alone_stands_under_both_names():
    panel = [accuracy_report.Figure("ours", "0.01", (1.0,), (1.0,), (), (), None, None)]
    both = accuracy_pages._with_same(panel, "cifar10 (resnet20)")
    assert [figure.method for figure in both] == ["ours", "own-logits"]
    assert accuracy_pages._with_same(panel, "cifar10 (binarynet-4)") == panel


@pytest.mark.parametrize(
    ("network", "binary", "widest"),
    [("binarynet", 9, 512), ("birealnet18", 16, 512), ("resnet20", 18, 64)],
)
def test_the_networks_of_the_large_presets_have_their_shapes(network, binary, widest):
    model = build(network, METHODS["ours"].kit(), (32, 32, 3))
    assert model.output_shape == (None, 10)
    kernels = [w for w in model.weights if w.name == "kernel" and len(w.shape) == 4]
    assert len([layer for layer in model.layers if hasattr(layer, "binary_kernel")]) == binary
    assert keras.ops.convert_to_numpy(kernels[-1]).shape[-1] == widest


@pytest.mark.parametrize("share", [4, 8])
def test_the_narrow_networks_are_shares_of_binarynet(share):
    filters, units = CHAINS["binarynet"]
    narrow = tuple(f if f == "M" else f // share for f in filters), tuple(u // share for u in units)
    assert CHAINS[f"binarynet-{share}"] == narrow


def test_the_methods_of_a_preset_exist():
    assert all(name in METHODS for names in accuracy.METHODS_OF.values() for name in names)
    assert set(accuracy.METHODS_OF) <= set(accuracy.PRESETS)


def test_a_recipe_kernel_has_the_derivative_of_division_and_clipped_identity(rng):
    """The gradient of ``sum(c * sign(w / rms(w)))``, with ``ste`` for sign, is known in closed form."""
    layer = METHODS["approx-recipe"].kit().dense(5)
    layer.build((None, 7))
    w = rng.normal(size=(7, 5)).astype("float32")
    c = rng.normal(size=(7, 5)).astype("float32")
    model = keras.Sequential([keras.Input((7,)), layer])
    layer.kernel.assign(w)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda target, output: keras.ops.sum(target * output))
    # The inputs are the unit vectors: output (i, j) is the kernel's, and the loss is sum(c * kernel).
    model.train_on_batch(np.eye(7, dtype="float32"), c)
    r = np.sqrt(np.mean(w.astype("float64") ** 2))
    u = c * (np.abs(w / r) <= 1)
    gradient = (u - w * np.mean(u * w) / r**2) / r
    np.testing.assert_allclose(w - keras.ops.convert_to_numpy(layer.kernel), gradient, atol=2e-5)
    before = keras.ops.convert_to_numpy(layer.kernel)
    layer.freeze_kernel()
    model.train_on_batch(np.eye(7, dtype="float32"), c)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.kernel), before)

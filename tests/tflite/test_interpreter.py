"""Which runtime a stock file runs in, and that each of them gives the same."""

import importlib
import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import digit_network, images, randomize, run_everywhere

import keras_sbn
from keras_sbn import extras
from keras_sbn.tflite import interpreter, kernels
from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.schema import load_module, schema
from keras_sbn.tflite.writer import finish

RUNTIMES = interpreter.TFLITE_RUNTIMES


@pytest.fixture(autouse=True)
def _choose_again():
    interpreter._tflite_runtime.cache_clear()
    yield
    interpreter._tflite_runtime.cache_clear()


def _install(monkeypatch, *packages):
    """Only these runtimes are there."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in packages else None)


@pytest.mark.parametrize(
    ("installed", "module"),
    [
        (("tensorflow",), "tensorflow.lite.python.interpreter"),
        (("tflite_runtime", "tensorflow"), "tflite_runtime.interpreter"),
        (("ai_edge_litert", "tflite_runtime", "tensorflow"), "ai_edge_litert.interpreter"),
    ],
)
def test_the_smallest_installed_runtime_runs_stock_files(installed, module, monkeypatch):
    chosen = []
    _install(monkeypatch, *installed)
    monkeypatch.setattr(importlib, "import_module", chosen.append)
    interpreter._tflite_runtime()
    assert chosen == [module]
    with pytest.raises(ImportError, match="none is installed"):
        interpreter._tflite_runtime("another")


@pytest.mark.lce
def test_a_numpy_that_is_too_new_for_the_engine_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(interpreter.np, "__version__", "2.1.0")
    with pytest.raises(ImportError, match=r"Expected NumPy < 2.*Received: NumPy 2\.1\.0\. pip install"):
        interpreter._extension.__wrapped__()


def test_without_the_engine_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setattr(interpreter, "file_of_package", lambda *names: None)
    with pytest.raises(ImportError, match="larq-compute-engine, which is not installed: "):
        interpreter._extension.__wrapped__()


def test_a_file_that_is_no_module_is_not_loaded(tmp_path):
    with pytest.raises(ImportError, match=r"Expected a Python module\. Received: notes\.txt"):
        load_module("notes", tmp_path / "notes.txt")


def test_without_a_runtime_the_error_names_the_remedy(monkeypatch):
    _install(monkeypatch)
    with pytest.raises(ImportError, match=r"none is installed: pip install 'keras-sbn\[convert\]'"):
        interpreter.TfliteInterpreter(b"")


@pytest.mark.parametrize("package", RUNTIMES)
def test_every_runtime_decides_as_the_hard_model(package, monkeypatch, rng):
    pytest.importorskip(RUNTIMES[package][0])
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    converted = keras_sbn.convert(model, target="tflite")
    x = images(rng, (7, 6, 2))
    for xnnpack in (True, False):
        engine = interpreter.TfliteInterpreter(converted.content, xnnpack=xnnpack, package=package)
        assert engine.runtime.endswith(", XNNPACK") == xnnpack
        assert type(engine._engine).__module__.startswith(package)
        (received,) = engine.predict([x])
        np.testing.assert_allclose(received, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(interpreter, "TFLITE_RUNTIMES", {package: RUNTIMES[package]})
    verification = keras_sbn.verify(converted, model, x)
    assert verification, str(verification)


@pytest.fixture
def hard(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_every_kernel_gives_the_same_with_xnnpack_and_without(target, hard, rng):
    x = images(rng, (7, 6, 2), 8)
    converted = keras_sbn.convert(hard, target)
    received = run_everywhere(converted, x, tolerance=1e-5)
    np.testing.assert_allclose(received, hard.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


@pytest.mark.lce
def test_running_everywhere_finds_what_differs_between_kernels(hard, rng, monkeypatch):
    converted = keras_sbn.convert(hard)
    predict = interpreter.Interpreter.predict

    def wrong(self, inputs, dequantize=True):
        outputs = predict(self, inputs, dequantize)
        return [value + (self.runtime == "LCE, default kernel") for value in outputs]

    monkeypatch.setattr(interpreter.Interpreter, "predict", wrong)
    with pytest.raises(AssertionError, match="LCE, default kernel"):
        run_everywhere(converted, images(rng, (7, 6, 2), 2), tolerance=1e-5)


@pytest.fixture
def opened(monkeypatch):
    """What is opened, in place of the runtimes; `opened.installed` are those that are there."""

    class Opened(list):
        installed = ("kernels", "lce")

    found = Opened()
    monkeypatch.setattr(interpreter, "LceInterpreter", lambda *given: found.append(("lce", *given)))
    monkeypatch.setattr(interpreter, "TfliteInterpreter", lambda *given: found.append(("litert", *given)))
    monkeypatch.setattr(kernels, "KernelsInterpreter", lambda *given: found.append(("kernels", *given)))
    for module in (interpreter, extras):
        for name in ("kernels", "lce"):
            said = lambda name=name: None if name in found.installed else f"no {name}"  # noqa: E731
            monkeypatch.setattr(module, f"why_no_{name}", said)
    return found


@pytest.mark.parametrize(
    ("target", "installed", "options", "expected"),
    [
        ("lce", ("kernels", "lce"), {}, ("kernels", b"file", 3)),
        ("lce", ("kernels",), {}, ("kernels", b"file", 3)),
        ("lce", ("lce",), {}, ("lce", b"file", 3, None, None)),
        ("lce", ("kernels", "lce"), {"xnnpack": True}, ("kernels", b"file", 3)),
        # Its own kernels, and stock operators without XNNPACK, are LCE's.
        ("lce", ("kernels", "lce"), {"kernel": "default"}, ("lce", b"file", 3, "default", None)),
        ("lce", ("kernels", "lce"), {"xnnpack": False}, ("lce", b"file", 3, None, False)),
        ("lce", ("kernels", "lce"), {"runtime": "lce"}, ("lce", b"file", 3, None, None)),
        ("lce", (), {"runtime": "kernels"}, ("kernels", b"file", 3)),
        ("tflite", ("kernels", "lce"), {}, ("litert", b"file", 3, None)),
        ("tflite", (), {"runtime": "litert", "xnnpack": False}, ("litert", b"file", 3, False)),
        ("tflite", ("kernels",), {"runtime": "kernels"}, ("kernels", b"file", 3)),
        ("tflite", ("lce",), {"runtime": "lce"}, ("lce", b"file", 3, None, None)),
    ],
)
def test_the_best_runtime_runs_a_file_or_the_one_that_is_asked_for(
    target, installed, options, expected, opened
):
    opened.installed = installed
    interpreter.open_interpreter(b"file", target, 3, **options)
    assert opened == [expected]


def test_without_any_runtime_for_the_operators_the_error_names_both(opened):
    opened.installed = ()
    assert extras.why_not_run("lce") == "no kernels and no lce"
    with pytest.raises(
        ImportError, match=r"keras-sbn-kernels or larq-compute-engine.*no kernels and no lce"
    ):
        interpreter.open_interpreter(b"file", "lce")
    for one in ("kernels", "lce"):
        opened.installed = (one,)
        assert extras.why_not_run("lce") is None
    assert opened == []


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("lce", {"runtime": "tensorrt"}, r"one of \['kernels', 'lce', 'litert'\].*runtime='tensorrt'"),
        ("lce", {"runtime": "litert"}, r"runtime 'kernels' or 'lce'.*Received: runtime='litert'"),
        ("lce", {"runtime": "kernels", "kernel": "default"}, r"runtime 'lce' with `kernel`"),
        ("tflite", {"runtime": "kernels", "xnnpack": False}, r"'lce' or 'litert' with xnnpack=False"),
    ],
)
def test_a_runtime_that_does_not_have_what_is_asked_for_is_an_error(target, options, message, opened):
    with pytest.raises(ValueError, match=message):
        interpreter.open_interpreter(b"file", target, **options)
    assert opened == []


def _changed(content, change):
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    change(file.subgraphs[0])
    return finish(file)


def _only_one_input(operator):
    def change(graph):
        graph.operators[operator].inputs = graph.operators[operator].inputs[:1]

    return change


def _other_shape(operator):
    def change(graph):
        graph.tensors[graph.operators[operator].inputs[1]].shape = [3]

    return change


def test_the_engines_errors_name_the_layer(hard):
    lce, tflite = (keras_sbn.convert(hard, target).content for target in ("lce", "tflite"))
    names = [op.name for op in read_file(lce).operators]
    binary = names.index("LceBconv2d")
    message = rf"LCE, indirect kernel.* Layer '\w+' \(LceBconv2d, operator {binary}\):.*inputs->size != 5"
    with pytest.raises(RuntimeError, match=message):
        interpreter.open_interpreter(
            _changed(lce, _only_one_input(binary)), "lce", kernel="indirect", xnnpack=False
        )
    with pytest.raises(RuntimeError, match=r"Layer '.*' \(tensor \d+\): .*required_bytes != bytes"):
        interpreter.open_interpreter(_changed(lce, _other_shape(binary)), "lce", runtime="lce")
    multiply = [op.name for op in read_file(tflite).operators].index("MUL")
    for xnnpack in (True, False):
        message = rf"Received: Layer '[\w/]+' \(MUL, operator {multiply}\): .*failed to prepare"
        with pytest.raises(RuntimeError, match=message):
            interpreter.open_interpreter(
                _changed(tflite, _only_one_input(multiply)), "tflite", xnnpack=xnnpack
            )


@pytest.mark.lce
def test_says_whether_a_file_opens(hard, monkeypatch):
    for target in ("lce", "tflite"):
        content = keras_sbn.convert(hard, target).content
        assert interpreter.can_open(content, target) is None
        names = [op.name for op in read_file(content).operators]
        bad = _changed(content, _only_one_input(names.index("MUL")))
        said = interpreter.can_open(bad, target)
        assert "(MUL, operator" in said
        assert "failed to prepare" in said
    monkeypatch.setattr(interpreter, "_extension", _not_installed)
    assert interpreter.can_open(b"no model", "lce") is None
    _install(monkeypatch)
    assert interpreter.can_open(b"no model", "tflite") is None


def test_asking_whether_a_file_opens_does_not_import_tensorflow(monkeypatch):
    _install(monkeypatch, "tensorflow")
    monkeypatch.delitem(interpreter.sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(interpreter, "open_interpreter", _not_installed)
    assert interpreter.can_open(b"no model", "tflite") is None


def _not_installed(*arguments, **options):
    raise ImportError("not installed")


def test_those_who_wait_are_let_in_in_their_order():
    turns, order = interpreter._Turns(1), []

    def come(number):
        with turns.turn():
            order.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
    with turns.turn():
        for number, thread in enumerate(threads):
            thread.start()
            while len(turns._line) <= number + 1:
                time.sleep(0.001)
    # Whoever comes again at once is not let in before them.
    with turns.turn():
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == [*range(6), "again"]


def test_one_who_stops_waiting_keeps_nobody_out(monkeypatch):
    turns = interpreter._Turns(1)

    def interrupt(condition):
        assert not condition()
        raise KeyboardInterrupt

    with turns.turn():
        with monkeypatch.context() as patch:
            patch.setattr(turns._changed, "wait_for", interrupt)
            with pytest.raises(KeyboardInterrupt), turns.turn():
                pass
        assert len(turns._line) == 1
    with turns.turn():
        assert len(turns._line) == 1


class _Busy:
    """An interpreter that notices two threads in it."""

    made = 0

    def __init__(self, *arguments, **options):
        _Busy.made += 1
        self.inside = threading.Lock()

    def run(self):
        assert self.inside.acquire(blocking=False), "two threads in one interpreter"
        time.sleep(0.001)
        self.inside.release()


def test_a_pool_lends_an_interpreter_to_one_thread_and_makes_no_more_than_cores(monkeypatch):
    monkeypatch.setattr(_Busy, "made", 0)
    monkeypatch.setattr(interpreter, "open_interpreter", _Busy)
    monkeypatch.setattr(interpreter.os, "cpu_count", lambda: 3)
    pool = interpreter.InterpreterPool(b"", "lce")

    def use(_):
        with pool.borrow() as lent:
            lent.run()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(use, range(200)))
    assert _Busy.made == 3
    with pytest.raises(KeyError), pool.borrow():
        raise KeyError
    with pool.borrow():
        assert _Busy.made == 3
    assert not pool._turns._line
    # A forked process starts with none, whatever another thread held at that moment.
    monkeypatch.setattr(interpreter.os, "getpid", lambda: -1)
    with pool.borrow():
        assert _Busy.made == 4

"""Child processes: nothing of the working directory, nothing but data back, and an end in words."""

import json
import os
import subprocess
import sys
import types

import children
import numpy as np
import pytest

from keras_sbn import process
from keras_sbn.larq.process import child_with_keras_2, has_keras_2, run_in
from keras_sbn.process import ChildProcess, ProcessEndedError, how_it_ended
from keras_sbn.tflite.worker import Worker

HOSTILE = "numpy", "json", "types", "pickle", "signal", "subprocess", "tempfile", "keras", "flatbuffers"


def child(function, **options):
    options = {"search_path": [os.path.dirname(children.__file__)], **options}
    return ChildProcess(function, "do the work", **options)


@pytest.fixture
def hostile_folder(tmp_path, monkeypatch):
    """A working directory with modules that leave a mark; a path that begins with it, as in a console."""
    for name in HOSTILE:
        mark = tmp_path / f"{name} was imported"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    given = os.environ.get("PYTHONPATH", "")
    # What $PYTHONPATH:/folder makes where the variable was not set.
    monkeypatch.setenv("PYTHONPATH", f":{given}")
    yield tmp_path
    assert not list(tmp_path.glob("* was imported"))


@pytest.mark.parametrize("safe_flag", [True, False], ids=["-P", "without -P, as before Python 3.11"])
def test_nothing_is_imported_from_the_working_directory(hostile_folder, safe_flag, monkeypatch):
    if not safe_flag:
        monkeypatch.setattr(process.sys, "version_info", (3, 10))
        whole = process._safe_environment

        def unsafe():
            return {name: value for name, value in whole().items() if name != "PYTHONSAFEPATH"}

        monkeypatch.setattr(process, "_safe_environment", unsafe)
    with child(children.where_from, search_path=[*sys.path, os.path.dirname(children.__file__)]) as found:
        path, *files = found.receive()
    assert "" not in path
    assert str(hostile_folder) not in path
    assert files == [json.__file__, types.__file__, np.__file__]


def test_the_processes_of_the_package_import_nothing_from_it_either(hostile_folder):
    with child_with_keras_2() as child:
        # One process for task after task.
        assert [run_in(child, has_keras_2) for _ in range(2)] == [False, False]
    with Worker(b"no model", "lce") as worker, pytest.raises(RuntimeError):
        _ = worker.runtime


def test_the_working_directory_would_be_imported_from_otherwise(hostile_folder):
    """The test above is one: a plain child process runs what lies there."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    run = subprocess.run([sys.executable, "-c", "import numpy"], env=plain)
    assert run.returncode == 9
    (hostile_folder / "numpy was imported").unlink()


def test_messages_go_there_and_back_and_prints_do_not_disturb():
    message = {"a": [np.arange(3.0), np.float32(2), ("text", 1.5, None)], "b": np.ones((2, 3))[:, ::2]}
    with child(children.echo) as found:
        for _ in range(2):
            found.send(message)
            answer = found.receive()
            np.testing.assert_array_equal(answer["a"][0], message["a"][0])
            np.testing.assert_array_equal(answer["b"], message["b"])
            assert answer["a"][1:] == message["a"][1:]
    with child(children.prints) as found:
        assert found.receive() == 1
        assert found.said().startswith("a native library prints")


def test_an_answer_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = pytest.raises(ProcessEndedError, match=r"not read, as it holds (posix|nt)\.system")
    with child(children.answers_with_code) as found, refused:
        found.receive()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "raised", "text"),
    [("ValueError", ValueError, "a reason"), ("KeyError", RuntimeError, "Key")],
)
def test_an_error_of_the_function_is_raised_here(kind, raised, text):
    with child(children.fails) as found:
        found.send(kind)
        with pytest.raises(raised, match=text):
            found.receive()


def test_what_the_function_said_before_it_ended_is_the_reason_why_it_takes_no_more():
    with child(children.fails) as found:
        found.send("ValueError")
        found._process.wait(60)
        with pytest.raises(ValueError, match="a reason"):
            found.send(np.zeros(10**6))
        with pytest.raises(ProcessEndedError, match="exit code 0"):
            found.send(np.zeros(10**6))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_crash_is_an_error_that_names_the_signal_and_shows_what_was_said():
    with child(children.reads_address_zero) as found:
        with pytest.raises(
            ProcessEndedError,
            match=r"(?s)to do the work\. Received: it was ended by signal SIGSEGV.*about to read",
        ):
            found.receive()
        with pytest.raises(ProcessEndedError, match="SIGSEGV"):
            found.send(np.zeros(10**6))


def test_an_exit_is_an_error_with_its_code():
    with child(children.leaves) as found, pytest.raises(ProcessEndedError, match="ended by exit code 3"):
        found.receive()


def test_ends_in_words():
    assert how_it_ended(3) == "exit code 3"
    assert how_it_ended(0xC0000005) == "an access violation (0xC0000005)"
    if os.name != "nt":
        assert how_it_ended(-9).startswith("signal SIGKILL")
    assert how_it_ended(-250) == "signal 250"

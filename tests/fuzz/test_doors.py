"""A few hundred damaged files at every door; `make fuzz` tries them for as long as you like."""

import random
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("PIL.Image")
resource = pytest.importorskip("resource", reason="counts memory")

from fuzz import run  # noqa: E402
from fuzz.damage import damaged  # noqa: E402
from fuzz.doors import DOORS, ENDED, REFUSED, SEEDS, SURVIVED, Door  # noqa: E402

#: A second or two of each.
FILES = {
    "reader": 250,
    "inspect": 150,
    "metadata": 120,
    "interpreter": 4,
    "keras": 12,
    "larq": 20,
    "npz": 100,
    "npy": 150,
    "image": 100,
    "settings": 150,
    "labels": 200,
}
#: Packages, which a process of its own imports.
NEEDS = {"interpreter": ["larq_compute_engine"], "larq": ["larq", "tf_keras"]}


def test_every_door_is_tried():
    assert set(FILES) == set(DOORS)


@pytest.mark.parametrize("name", DOORS)
def test_a_damaged_file_is_read_or_refused(name):
    missing = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    with warnings.catch_warnings():
        # Pillow, NumPy and Keras warn of what they then read or refuse.
        warnings.simplefilter("ignore")
        found = run.fuzz(DOORS[name], 600, files=FILES[name])
    assert not found.wrong
    assert found.tried == FILES[name]
    assert found.counts[REFUSED] > 0
    if found.tried > 4:
        assert found.counts[SURVIVED] > 0


@pytest.mark.parametrize("path", sorted(SEEDS.glob("ended/*.tflite")), ids=lambda path: path.name)
def test_files_that_have_ended_an_interpreter(path, tmp_path):
    """The process that runs them may end, and this one does not; the reader sees what options hold."""
    content = path.read_bytes()
    passes = SURVIVED if path.name == "lce-3.tflite" else REFUSED
    assert DOORS["reader"].check(content, tmp_path, False) == passes
    pytest.importorskip("larq_compute_engine")
    assert DOORS["interpreter"].check(content, tmp_path, False) in run.OUTCOMES


@pytest.mark.parametrize("path", sorted(SEEDS.glob("found/*")), ids=lambda path: path.name)
def test_files_that_once_went_wrong(path, tmp_path):
    """They have the name of the door, and the number that the fuzzer gave them there."""
    door = DOORS[path.name.split("-")[0]]
    assert run.outcome_of(door, path.read_bytes(), tmp_path, False) in (SURVIVED, REFUSED)


def test_the_same_seed_damages_in_the_same_way():
    content = bytes(range(256))
    pairs = [[damaged(content, random.Random(n), [content]) for n in range(200)] for _ in range(2)]
    assert pairs[0] == pairs[1]
    assert len(set(pairs[0])) > 150


# What the doors would say if something were wrong.


def outcome(check):
    door = Door("test", check, lambda: [b"seed"])
    return run.outcome_of(door, b"file", Path(), False)


def raises(error):
    def check(content, folder, right):
        raise error

    return check


def test_other_exceptions_are_wrong():
    assert outcome(raises(KeyError("x"))) == "KeyError: 'x'"
    assert outcome(raises(RecursionError("deep"))) == "RecursionError: deep"
    assert outcome(raises(MemoryError())) == "MemoryError: "


def test_no_answer_is_wrong(monkeypatch):
    monkeypatch.setattr(run, "_SECONDS", 1)

    def check(content, folder, right):
        time.sleep(5)

    assert outcome(check) == "TimeoutError: no answer in 1 seconds"


def test_much_memory_is_wrong(monkeypatch):
    monkeypatch.setattr(run, "_BYTES", 0)
    assert outcome(lambda content, folder, right: SURVIVED).endswith("bytes of memory")


def test_a_wrong_file_is_counted_and_kept(tmp_path):
    def check(content, folder, right):
        if content != b"seed":
            raise KeyError(content)
        return SURVIVED

    found = run.fuzz(Door("test", check, lambda: [b"seed"]), 60, files=5, keep=tmp_path)
    assert len(found.wrong) == found.counts["wrong"] > 0
    assert len(list(tmp_path.glob("test-wrong-*"))) == len(found.wrong)
    assert found.row() == f"| test | 5 | {found.counts[SURVIVED]} | 0 | 0 | {len(found.wrong)} |"
    assert ENDED not in found.counts


def test_the_message_of_a_refusal_says_what_was_expected():
    from fuzz.doors import _refuses

    def refuse(text):
        raise ValueError(text)

    assert _refuses(refuse, "Expected a file. Received: none") == REFUSED
    with pytest.raises(AssertionError, match="without a word of what was expected: oops"):
        _refuses(refuse, "oops")

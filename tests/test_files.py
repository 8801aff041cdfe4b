import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.files import save_model, write_atomically

#: Loads the module alone, so that the process starts at once, and dies in the middle of a write.
KILLED = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(sys.argv[2], b"new" * 100_000)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_replaces_the_file(path):
    assert write_atomically(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(path, step, error, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_the_old_file_whole(path):
    module = Path(keras_sbn.__file__).parent / "files.py"
    run = subprocess.run([sys.executable, "-S", "-c", KILLED, str(module), str(path)])
    assert run.returncode == -9
    assert path.read_bytes() == b"old"


def small_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_model_is_saved_whole(path):
    model = small_model()
    target = path.with_name("model.keras")
    assert save_model(model, target) == target
    assert sorted(os.listdir(path.parent)) == ["file", "model.keras"]
    assert target.stat().st_mode == path.stat().st_mode
    again = keras.models.load_model(target)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_interrupted_saving_leaves_the_old_model_and_nothing_else(path, monkeypatch):
    target = path.with_name("model.keras")
    target.write_bytes(b"old")

    def fail(model, temporary, **options):
        Path(temporary).write_bytes(b"half")
        raise KeyboardInterrupt

    model = small_model()
    monkeypatch.setattr(type(model), "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(path.parent)) == ["file", "model.keras"]


def test_a_missing_folder_is_named(tmp_path):
    for write in (lambda path: write_atomically(path, b""), lambda path: save_model(small_model(), path)):
        with pytest.raises(FileNotFoundError, match=r"Expected a folder that can be written.*missing'"):
            write(tmp_path / "missing" / "model.keras")


posix = pytest.mark.skipif(sys.platform == "win32", reason="no such files")


def write_model(path):
    return save_model(small_model(), path)


def write_bytes(path):
    return write_atomically(path, b"new")


@posix
def test_a_device_is_written_into():
    assert write_atomically("/dev/null", b"new") == Path("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    # The device of a full disk.
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write_atomically("/dev/full", b"new")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@posix
@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_a_pipe_is_written_into(tmp_path, write):
    pipe = tmp_path / "pipe.keras"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert read[0] == b"new" if write is write_bytes else read[0].startswith(b"PK")
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert os.listdir(tmp_path) == ["pipe.keras"]


@posix
def test_an_open_file_of_the_process_is_written_into(tmp_path):
    """Where the shell has opened a file, a renamed one would not be it."""
    module = Path(keras_sbn.__file__).parent / "files.py"
    script = KILLED.split("os.fsync = ")[0] + 'files.write_atomically("/dev/stdout", b"new")\n'
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-S", "-c", script, str(module)], stdout=out, check=True)
        assert os.fstat(out.fileno()).st_size == 3
    assert os.listdir(tmp_path) == ["out"]


@posix
@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_a_link_stays_and_its_target_is_written(tmp_path, write):
    (tmp_path / "store").mkdir()
    target = tmp_path / "store/target.keras"
    target.write_bytes(b"old")
    links = [tmp_path / f"link_{index}.keras" for index in range(2)]
    links[0].symlink_to(target)
    links[1].symlink_to(links[0].name)
    assert write(links[1]) == links[1]
    assert [link.is_symlink() for link in links] == [True, True]
    assert target.read_bytes() != b"old"
    assert links[1].read_bytes() == target.read_bytes()
    assert os.listdir(tmp_path / "store") == ["target.keras"]
    # One that points to nothing yet.
    dangling = tmp_path / "dangling.keras"
    dangling.symlink_to(tmp_path / "store/later.keras")
    write(dangling)
    assert dangling.is_symlink()
    assert (tmp_path / "store/later.keras").is_file()


@posix
@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_a_circle_of_links_is_named(tmp_path, write):
    (tmp_path / "a.keras").symlink_to("b.keras")
    (tmp_path / "b.keras").symlink_to("a.keras")
    with pytest.raises(OSError, match=r"symbolic links: '.*a\.keras'"):
        write(tmp_path / "a.keras")
    assert sorted(os.listdir(tmp_path)) == ["a.keras", "b.keras"]


@posix
@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_modes(tmp_path, write):
    path = tmp_path / "x.keras"
    before = os.umask(0o027)
    try:
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0o027


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file away")
def test_the_owner_stays(path):
    os.chown(path, 12345, 54321)
    write_bytes(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_a_folder_is_named(tmp_path, write):
    (tmp_path / "x.keras").mkdir()
    with pytest.raises(IsADirectoryError, match=r"Expected the path of a file.*x\.keras'"):
        write(tmp_path / "x.keras")
    assert os.listdir(tmp_path) == ["x.keras"]


@posix
def test_what_may_not_be_written_is_named(path, monkeypatch):
    # The superuser may write all, so what the system says is said here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"Expected a file that can be written.*/file'"):
        write_bytes(path)
    assert path.read_bytes() == b"old"
    monkeypatch.undo()

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", arguments[0])

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as error:
        write_bytes(path)
    assert "Expected a folder that can be written" in str(error.value)
    assert error.value.filename == str(path.parent)


#: Ends at a thousand bytes, as a full disk would.
FULL = (
    KILLED.split("os.fsync = ")[0]
    + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_atomically(sys.argv[2], b"new" * 100_000)
except OSError as error:
    print(error)
"""
)


@posix
def test_a_full_disk_names_the_file_and_leaves_the_old_one(path):
    module = Path(keras_sbn.__file__).parent / "files.py"
    command = [sys.executable, "-S", "-c", FULL, str(module), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith(f"File too large: {str(path)!r}")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


@posix
@pytest.mark.parametrize("write", [write_bytes, write_model])
def test_content_then_name_are_brought_to_the_disk(tmp_path, write, monkeypatch):
    """File, rename, folder: in any other order a power cut can leave neither file."""
    done = []
    replace, fsync = os.replace, os.fsync

    def synchronize(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def rename(old, new):
        done.append("rename")
        replace(old, new)

    model = small_model()
    monkeypatch.setattr(os, "fsync", synchronize)
    monkeypatch.setattr(os, "replace", rename)
    if write is write_model:
        save_model(model, tmp_path / "x.keras")
    else:
        write(tmp_path / "x.keras")
    assert done == ["file", "rename", "folder"]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 255)
    assert write_bytes(path).read_bytes() == b"new"


def test_threads_leave_the_umask_alone(tmp_path):
    """Reading the umask sets it for all threads: files made meanwhile would be anyone's to write."""
    before = os.umask(0o077)
    try:
        threads = [
            threading.Thread(target=write_atomically, args=(tmp_path / f"{index}", b"new"))
            for index in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        now = os.umask(before)
    assert now == 0o077
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}

"""One training at a time in a folder, and nothing left of one that was killed."""

import pytest

from keras_sbn.training.lock import locked, remove_leftovers


def test_a_folder_is_locked_once(tmp_path):
    with locked(tmp_path):
        message = r"no other process trains\. Received: .* process \d+ does"
        with pytest.raises(ValueError, match=message), locked(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_a_lock_that_a_killed_process_left_holds_no_one(tmp_path):
    (tmp_path / ".lock").write_text("123456\n")
    with locked(tmp_path):
        pass


def test_a_folder_that_stayed_empty_goes(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "runs" / "x"):
        raise KeyError
    assert not (tmp_path / "runs" / "x").exists()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "run.toml").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.toml"]


def test_temporary_files_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = [".history.csv.abc_12z9", ".run.toml.abcdefgh", ".keras_sbn_0123456789abcdef.tmp"]
    left += ["checkpoints/.epoch-00002.keras.12345678", "checkpoints/.epoch-00002.tmp.keras"]
    others = [
        ".config.settings",
        "run.toml",
        ".gitignore",
        "checkpoints/epoch-00002.keras",
        ".notes.abcdefgh",
    ]
    for name in left + others:
        (tmp_path / name).touch()
    for name in (".keras_sbn_abcdefgh", ".model.keras.abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.keras").touch()
    remove_leftovers(tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted(others)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["checkpoints"]

"""Data that are damaged, hostile or not what they should be: a clear error, or the right pixels."""

import io
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_sbn import data
from keras_sbn.deployment import fit_image

PIL = pytest.importorskip("PIL.Image")
posix = pytest.mark.skipif(sys.platform == "win32", reason="no such files")
ROOT = Path(__file__).parents[2]


def expect(source, *messages, **options):
    """Loading and reading all of it is an error that names the file and says this."""

    def read():
        dataset = data.load(source, **options)
        return dataset.train.images[:], dataset.validation.images[:]

    with pytest.raises(ValueError, match="Expected") as error:
        read()
    for message in (str(source), *messages):
        assert message in str(error.value), error.value


# NumPy files.


def npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (20, 6, 6, 3), "uint8"), "y_train": np.arange(20) % 4}
    arrays = {**arrays, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


ONE_HOT = np.eye(4, dtype="int64")[np.arange(20) % 4]
X = np.zeros((20, 6, 6, 3), "uint8")


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"y_train": np.arange(10)}, ["a label for each of 20 images", "y_train of shape (10,)"]),
        ({"y_train": np.arange(30)}, ["a label for each of 20 images", "y_train of shape (30,)"]),
        ({"x_test": X, "y_test": np.arange(7)}, ["a label for each of 20 images, x_test"]),
        ({"y_train": ONE_HOT}, ["y_train of shape (20, 4)", "labels.argmax(axis=-1)"]),
        ({"y_train": ONE_HOT.astype("float32")}, ["y_train of shape (20, 4)", "argmax"]),
        ({"y_train": np.arange(20.0)}, ["y_train of shape (20,), float64", "labels.astype('int64')"]),
        ({"y_train": np.array(["cat"] * 20)}, ["labels as integers", "<U3"]),
        ({"y_train": np.arange(20) - 3}, ["labels from 0 on", "y_train[0] = -3"]),
        ({"y_train": np.arange(20) * 5_000_000}, ["label 95000000 among 20 images", "np.unique"]),
        ({"y_train": np.full(20, 2**63, "uint64")}, ["label 9223372036854775808", "np.unique"]),
        ({"y_train": np.array(5)}, ["y_train of shape ()"]),
        ({"y_train": np.array([], "int64"), "x_train": X[:0]}, ["at least one", "(0, 6, 6, 3)"]),
        ({"x_train": X[:, :0]}, ["at least one", "(20, 0, 6, 3)"]),
        ({"x_train": X.astype("float32")}, ["images as uint8", "Multiply by 255"]),
        ({"x_train": X[0]}, ["a label for each of 6 images"]),
        ({"x_train": X[0, 0]}, ["images as uint8", "(6, 3)"]),
        ({"x_test": X[:, :4], "y_test": np.arange(20)}, ["(6, 6, 3) and x_test with (4, 6, 3)"]),
        ({"x_test": X}, ["x_test and y_test or neither", "x_test, x_train, y_train"]),
        ({"y_train": None}, ["an .npz with x_train and y_train"]),
        ({"y_train": np.array([{}] * 20, object)}, ["y_train holds Python objects"]),
        ({"y_train": np.arange(20)}, ["Expected enough samples to hold out 0.1"]),
    ],
)
def test_an_npz_that_is_no_data_set(tmp_path, changes, messages):
    expect(npz(tmp_path / "data.npz", **changes), *messages)


def test_labels_of_every_integer_type_and_of_a_column_are_taken(tmp_path):
    for dtype in ("int8", "uint8", "uint64"):
        path = npz(tmp_path / "data.npz", y_train=(np.arange(20) % 4).astype(dtype)[:, np.newaxis])
        assert data.load(path).classes == 4


def test_arrays_that_are_not_asked_for_are_not_read(tmp_path):
    path = npz(tmp_path / "data.npz", notes=np.array([{}], object))
    assert data.load(path).input_shape == (6, 6, 3)


def test_images_of_four_channels_are_not_brought_to_size(tmp_path):
    path = npz(tmp_path / "data.npz", x_train=np.zeros((20, 6, 6, 4), "uint8"))
    assert data.load(path).input_shape == (6, 6, 4)
    with pytest.raises(ValueError, match="Expected images of 1 or 3 channels"):
        data.load(path, image_size=(3, 3))


def test_an_npz_that_is_cut_off_or_is_none(tmp_path):
    whole = npz(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "data.npz"
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x93NUMPY" + bytes(100), b"\x80\x04."):
        path.write_bytes(content)
        expect(path, "npz")


def replaced(source, target, name, content):
    """A copy of an archive with other content in one entry."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry == name else old.read(entry))
    return target


def test_an_array_that_is_cut_off_is_named(tmp_path):
    source = npz(tmp_path / "whole.npz")
    with zipfile.ZipFile(source) as archive:
        whole = archive.read("y_train.npy")
    for cut in (0, 5, 100, len(whole) - 1):
        expect(
            replaced(source, tmp_path / "data.npz", "y_train.npy", whole[:cut]),
            "Expected arrays of numbers",
            "data.npz, y_train ",
        )


def test_an_array_whose_header_is_damaged_is_named(tmp_path):
    """NumPy's parser raises errors of Python's tokenizer, and of the system without a file's name."""
    source = npz(tmp_path / "whole.npz")
    with zipfile.ZipFile(source) as archive:
        whole = archive.read("y_train.npy")
    for old, new in (
        (b"}", b"{"),
        (b"(20,)", b"(20,("),
        (b"'<i8'", b"'<i\x008"),
        (b"shape", b"sh\x00pe"),
    ):
        path = replaced(source, tmp_path / "data.npz", "y_train.npy", whole.replace(old, new))
        expect(path, "Expected arrays of numbers", "y_train cannot be read")


def test_an_archive_that_begins_elsewhere_is_named(tmp_path):
    content = bytearray(npz(tmp_path / "data.npz").read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 42 : at + 46] = b"\xff\xff\xff\x7f"
    (tmp_path / "data.npz").write_bytes(content)
    expect(tmp_path / "data.npz", "Expected arrays of numbers")


def test_an_array_whose_bytes_are_damaged_is_named(tmp_path):
    path = npz(tmp_path / "data.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"x_train.npy") + 500] ^= 0xFF
    path.write_bytes(content)
    expect(path, "x_train cannot be read: Bad CRC-32")


def test_an_array_that_says_it_is_larger_than_memory_is_named(tmp_path):
    source = npz(tmp_path / "whole.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 6, 6, 3)}
    )
    expect(replaced(source, tmp_path / "data.npz", "x_train.npy", header.getvalue()), "x_train")


def test_arrays_that_are_larger_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    from keras_sbn.data import arrays

    path = npz(tmp_path / "data.npz")
    monkeypatch.setattr(arrays, "physical_memory", lambda: 1000)
    expect(path, "fit into the 1,000 bytes of memory")


def test_too_little_memory_names_the_array(tmp_path, monkeypatch):
    path = npz(tmp_path / "data.npz")

    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(np, "load", fail)
    expect(path, "x_train of 2,288 bytes")


# Folders.


def folder_of_images(root, classes=("cat", "dog"), count=3):
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            PIL.fromarray(np.full((6, 5, 3), 30 * label + index, "uint8")).save(
                root / name / f"{index}.png"
            )
    return root


def test_hidden_folders_and_files_are_no_classes_and_no_images(tmp_path):
    folder_of_images(tmp_path)
    for name in (".git", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"no image")
    for name in (".DS_Store", "._0.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "cat" / name).write_bytes(b"no image")
    (tmp_path / "README.md").write_text("about")
    dataset = data.load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.train) + len(dataset.validation) == 6
    _ = dataset.train.images[:], dataset.validation.images[:]


def test_hidden_folders_beside_splits(tmp_path):
    folder_of_images(tmp_path / "train")
    folder_of_images(tmp_path / "test")
    for name in (".git", "train/.git", "test/__MACOSX"):
        (tmp_path / name).mkdir()
    assert data.load(tmp_path).class_names == ("cat", "dog")


def test_a_class_without_images_is_named(tmp_path):
    folder_of_images(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "notes.txt").write_text("none yet")
    expect(tmp_path, str(tmp_path / "eel"), "Remove the folder if it is no class")


def test_a_class_may_have_no_images_to_validate_on(tmp_path):
    folder_of_images(tmp_path / "train")
    folder_of_images(tmp_path / "test", ("cat",))
    (tmp_path / "test" / "dog").mkdir()
    assert np.unique(data.load(tmp_path).validation.labels).tolist() == [0]


def jpeg(tmp_path):
    stream = io.BytesIO()
    PIL.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("name", ["0.jpg", "9.jpg"])
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "other", "html"])
def test_a_file_that_is_no_image_is_named(tmp_path, name, kind):
    folder_of_images(tmp_path)
    content = {
        "empty": b"",
        "text": b"no image at all",
        "cut": jpeg(tmp_path)[:1500],
        "other": b"%PDF-1.4",
        "html": b"<!DOCTYPE html><html>404</html>",
    }[kind]
    (tmp_path / "cat" / name).write_bytes(content)
    expect(tmp_path, "Expected an image that Pillow reads", f"{name} (")


@posix
@pytest.mark.parametrize("place", ["cat/link.png", "link", "cat/circle.png", "circle"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, place):
    folder_of_images(tmp_path)
    (tmp_path / place).symlink_to("missing" if "link" in place else Path(place).name)
    expect(tmp_path, str(tmp_path / place), "a link that leads nowhere")


@posix
def test_links_to_images_and_to_folders_are_followed(tmp_path):
    folder_of_images(tmp_path / "store")
    (tmp_path / "data" / "fox").mkdir(parents=True)
    for index in range(3):
        (tmp_path / f"data/fox/{index}.png").symlink_to(tmp_path / f"store/cat/{index}.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store" / "dog")
    # Up and down again without end: only one level is read.
    (tmp_path / "data" / "fox" / "up").symlink_to(tmp_path / "data")
    assert data.load(tmp_path / "data").class_names == ("dog", "fox")


@posix
def test_a_pipe_is_not_read(tmp_path):
    folder_of_images(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    expect(tmp_path, "pipe.png, a device or a pipe")


@posix
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    folder_of_images(tmp_path)
    secret = tmp_path / "dog" / "1.png"
    secret.chmod(0)
    if os.access(secret, os.R_OK):  # The superuser may read all.
        real = PIL.open

        def refuse(path, *arguments):
            if path == secret:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments)

        monkeypatch.setattr(PIL, "open", refuse)
    expect(tmp_path, "1.png (", "Permission denied")


@posix
@pytest.mark.parametrize("name", ["two\nlines", "tab\t", b"\xff\xfe", "bell\a"])
def test_a_name_that_is_no_line_of_text_is_named(tmp_path, name):
    folder_of_images(tmp_path)
    try:
        os.mkdir(os.path.join(os.fsencode(tmp_path), os.fsencode(name)))
    except OSError:
        pytest.skip("the file system has no such names")
    expect(tmp_path, "Expected names of classes of one line of text", repr(os.fsdecode(name)))


def test_names_of_every_language_are_taken(tmp_path):
    names = ("a b", "naïve", "emoji 🙂", "猫", "-rf", "$(x)", "a'b\"c")
    folder_of_images(tmp_path, names)
    assert set(data.load(tmp_path).class_names) == set(names)


# Images of every kind.


def one_image(tmp_path, name, save):
    """What is read of one image, of five that are alike."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(2):
            save(tmp_path / label / f"{index}{name}")
    dataset = data.load(tmp_path, validation_split=0.5)
    return dataset.train.images[:][0]


COLOURS = np.random.default_rng(1).integers(0, 256, (6, 5, 3), "uint8")


def test_sixteen_bits_of_grey(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (6, 5), "uint16")
    image = one_image(tmp_path, ".png", lambda path: PIL.fromarray(values).save(path))
    np.testing.assert_array_equal(image[..., 0], values >> 8)


def test_sixteen_bits_of_grey_with_the_large_byte_first(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (6, 5), "uint16")

    def save(path):
        PIL.frombytes("I;16B", (5, 6), values.astype(">u2").tobytes()).save(path)

    np.testing.assert_array_equal(one_image(tmp_path, ".tif", save)[..., 0], values >> 8)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_thirty_two_bits_are_refused(tmp_path, dtype):
    folder_of_images(tmp_path)
    PIL.fromarray(np.full((6, 5), 70_000, dtype)).save(tmp_path / "cat" / "deep.tif")
    expect(tmp_path, "deep.tif (5 x 6 pixels, mode", "save it with 8 or 16 bits")


def test_four_inks(tmp_path):
    whole = PIL.fromarray(COLOURS).convert("CMYK")
    image = one_image(tmp_path, ".tif", lambda path: whole.save(path))
    np.testing.assert_array_equal(image, np.asarray(whole.convert("RGB")))


def test_of_an_animation_the_first_image(tmp_path):
    frames = [PIL.fromarray(np.full((6, 5), value, "uint8")) for value in (10, 200, 90)]
    image = one_image(
        tmp_path, ".gif", lambda path: frames[0].save(path, save_all=True, append_images=frames[1:])
    )
    assert (image == 10).all()


def test_transparency_is_left_out(tmp_path):
    alpha = np.dstack([COLOURS, np.zeros((6, 5), "uint8")])
    image = one_image(tmp_path, ".png", lambda path: PIL.fromarray(alpha).save(path))
    np.testing.assert_array_equal(image, COLOURS)


def test_grey_with_transparency_is_grey(tmp_path):
    alpha = np.dstack([COLOURS[..., 0], np.full((6, 5), 9, "uint8")])
    image = one_image(tmp_path, ".png", lambda path: PIL.fromarray(alpha, "LA").save(path))
    np.testing.assert_array_equal(image, COLOURS[..., :1])


def test_a_palette_with_transparency(tmp_path):
    few = PIL.fromarray(COLOURS).quantize(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = one_image(tmp_path, ".png", lambda path: few.save(path, transparency=bytes([0, 255] * 4)))
    np.testing.assert_array_equal(image, np.asarray(few.convert("RGB")))


def test_one_bit(tmp_path):
    bits = COLOURS[..., 0] > 99
    image = one_image(tmp_path, ".png", lambda path: PIL.fromarray(bits).save(path))
    np.testing.assert_array_equal(image[..., 0], 255 * bits)


@pytest.mark.parametrize("pixels", [50, 80])
def test_a_bomb_is_named_and_not_decoded(tmp_path, monkeypatch, pixels):
    """Pillow warns above its limit and refuses above twice that; here both are errors."""
    folder_of_images(tmp_path)
    PIL.fromarray(np.zeros((pixels, 1), "uint8")).save(tmp_path / "cat" / "bomb.png")
    monkeypatch.setattr(PIL, "MAX_IMAGE_PIXELS", 35)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expect(tmp_path, "bomb.png (", f"{pixels}", "pixels")


def test_too_little_memory_names_the_image(tmp_path, monkeypatch):
    folder_of_images(tmp_path)

    def fail(*arguments, **options):
        raise MemoryError

    import PIL.ImageFile

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", fail)
    expect(tmp_path, "0.png (5 x 6 pixels, MemoryError)")


#: Prints by how many bytes reading one image raised the peak.
PEAK = """
import resource, sys
from pathlib import Path
from keras_sbn.data import images
small = images.from_files([Path(sys.argv[2])], (32, 32))[:]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
large = images.from_files([Path(sys.argv[1])], (32, 32))[:]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@posix
def test_a_photograph_of_81_megapixels_takes_the_memory_of_its_pixels(tmp_path):
    """Its running sums took 24 bytes a pixel and colour, three times."""
    PIL.new("RGB", (9000, 9000), (1, 2, 3)).save(tmp_path / "large.png", compress_level=1)
    PIL.new("RGB", (9, 9)).save(tmp_path / "small.png")
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "large.png"), str(tmp_path / "small.png")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 14 * 9000**2


@pytest.mark.parametrize("shape", [(37, 53), (64, 21), (5, 300)])
@pytest.mark.parametrize("target", [(7, 9), (40, 31), (1, 1)])
def test_fitting_in_pieces_changes_nothing(monkeypatch, shape, target):
    from keras_sbn.deployment import preprocessing

    photograph = np.random.default_rng(2).integers(0, 256, (*shape, 3), "uint8")
    whole = fit_image(photograph, *target)
    for pieces in (1, 100, 1000):
        monkeypatch.setattr(preprocessing, "_SUMS", pieces)
        np.testing.assert_array_equal(fit_image(photograph, *target), whole)


# Arguments.


def test_numbers_of_samples_that_are_not_positive():
    dataset = data.load("digits")
    for options in ({"train": -5}, {"train": 0}, {"validation": -1}, {"train": 2.5}, {"train": True}):
        ((name, value),) = options.items()
        with pytest.raises(ValueError, match=rf"positive number of {name} samples.*{name}={value!r}"):
            dataset.take(**options)
    with pytest.raises(ValueError, match="Expected `count` to be a positive integer"):
        dataset.arrays("train", -1)
    with pytest.raises(ValueError, match="Expected `count` to be a positive integer"):
        dataset.train.take(0)


@pytest.mark.parametrize("size", [(0, 4), (4, -4), (4,), (4, 4, 3), (2.5, 4)])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="Expected `image_size` to be"):
        data.load("digits", image_size=size)

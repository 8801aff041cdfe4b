"""The page of `keras-sbn deploy web` in headless Chromium: it sees and decides as Keras does.

Needs Chromium, named by CHROMIUM or on the path, playwright to drive it, and LiteRT.js in the folder that
LITERT_JS names; `make test-web` sees to the last two. Pictures of the page are written to out/web.
"""

import base64
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing

import keras_sbn
from keras_sbn import data, layers, models
from keras_sbn.data.images import _pixels
from keras_sbn.deployment import fit_image, write_web_page
from keras_sbn.deployment.page_server import PageServer
from keras_sbn.tflite.reader import read_file

LITERT = os.environ.get("LITERT_JS")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
SHOTS = Path(__file__).parents[2] / "out/web"
#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "100"))
#: Milliseconds that a step may take on a machine that does much else.
PATIENCE = 120_000

if LITERT is None or CHROMIUM is None:
    pytest.skip("needs Chromium and LiteRT.js: make test-web", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.tensorflow

#: What the network is given, from the canvas that shows it.
SEEN = """() => {
  const canvas = document.getElementById("image");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, Array.from(data)];
}"""
#: Runs a file in the page's own LiteRT.js: lists of samples by the input's name, and of outputs likewise.
RUN = """async ([content, samples]) => {
  const { loadAndCompile, Tensor } = await import("@litertjs/core");
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const model = await loadAndCompile(bytes, { accelerator: "wasm" });
  const arrays = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };
  const results = [];
  for (const sample of samples) {
    const inputs = {};
    for (const { name, dtype, shape } of model.getInputDetails()) {
      inputs[name] = new Tensor(arrays[dtype].from(sample[name]), [...shape]);
    }
    const outputs = await model.run(inputs);
    results.push(Object.fromEntries(
      Object.entries(outputs).map(([name, output]) => [name, Array.from(output.toTypedArray())])
    ));
    for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete();
  }
  model.delete();
  return results;
}"""
#: Of LiteRT.js's checks of the browser, the one for relaxed SIMD is a module of this size.
NO_RELAXED_SIMD = """
  const instantiate = WebAssembly.instantiate;
  WebAssembly.instantiate = (module, ...more) =>
    module.byteLength === 36 ? Promise.reject(new Error("no")) : instantiate(module, ...more);
"""


@pytest.fixture(scope="module")
def playwright():
    with sync_api.sync_playwright() as started:
        yield started


@contextmanager
def chromium(playwright, *flags):
    # As root, which is what containers run as, Chromium starts without a sandbox alone.
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    yield started
    started.close()


@pytest.fixture(scope="module")
def browser(playwright):
    with chromium(playwright) as started:
        yield started


@contextmanager
def served(folder):
    with PageServer(Path(folder), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


@contextmanager
def opened(browser, address, ready="#choose:enabled", script=None, **options):
    """The page in a context of its own; what it loads is noted, and an error in it fails the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.requests, errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    if script is not None:
        page.add_init_script(script)
    page.goto(address)
    page.wait_for_selector(ready)
    yield page
    context.close()
    assert errors == []


def png(image, **options):
    file = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def choose(page, content, name="picture.png", kind="image/png"):
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
    page.wait_for_selector("#scores data, #message:visible")


def shown(page):
    """The classes and scores that the page shows."""
    assert page.inner_text("#message") == ""
    labels = page.locator("#scores span").all_inner_texts()
    values = page.locator("#scores data").evaluate_all("all => all.map((one) => Number(one.value))")
    return labels, values


def seen(page):
    height, width, pixels = page.evaluate(SEEN)
    return np.array(pixels, "uint8").reshape(height, width, 4)[..., :3]


def colour_images(samples=400, seed=0):
    """Pictures of 32 x 32 in four classes: which quarter is of another colour."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, samples)
    x = rng.integers(0, 256, (samples, 32, 32, 3)).astype("int32")
    for image, which in zip(x, y, strict=True):
        top, left = 16 * (which // 2), 16 * (which % 2)
        image[top : top + 16, left : left + 16] += rng.integers(-120, 121, 3)
    return x.clip(0, 255).astype("uint8"), y


def trained(model, x, y, epochs):
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=epochs, callbacks=[keras_sbn.callbacks.Sharpen()], verbose=0)
    return model


class Case:
    """A hard model, its page, and images for it."""

    def __init__(self, folder, name, model, scaling, images, labels, folded=True, **options):
        self.images, self.labels = images, labels
        self.scores = model.predict(images * np.float32(scaling[0]) + np.float32(scaling[1]), verbose=0)
        if folded:
            model = keras_sbn.fold(model, input_scaling=scaling)
        converted = keras_sbn.convert(model, target="tflite", labels=labels, **options)
        self.content, self.predicted, self.model = converted.content, converted.predict, model
        file = converted.save(folder / f"{name}.tflite")
        self.page = write_web_page(file, folder / name, litert=LITERT).folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The network of the demo, trained for a moment, on images of 17 levels of grey."""
    loaded = data.load("digits")
    keras.utils.set_random_seed(0)
    model = trained(models.TinyConv((8, 8, 1), classes=10), *loaded.arrays("train"), 4)
    labels = [f"the digit {number}" for number in range(10)]
    scaling, images = (1 / 16, 0), loaded.validation.images[:20]
    return Case(tmp_path_factory.mktemp("digits"), "digits", model, scaling, images, labels)


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    x, y = colour_images()
    keras.utils.set_random_seed(0)
    scaling = (1 / 128, -1)
    model = trained(models.TinyConv((32, 32, 3), alpha=0.5, classes=4), x[20:] / 128 - 1, y[20:], 2)
    labels = ["oben links", "top <right>", "bas à gauche", "右下"]
    return Case(tmp_path_factory.mktemp("colour"), "colour", model, scaling, x[:20], labels)


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """A file that takes image / 128 - 1 in float32 and gives scores that are no shares of 1."""
    return unfolded(tmp_path_factory.mktemp("floats"))


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    """The same with scores in 8 bits."""
    return unfolded(tmp_path_factory.mktemp("rounded"), output_type="uint8")


def unfolded(folder, **options):
    keras.utils.set_random_seed(1)
    model = models.TinyConv((16, 12, 3), alpha=0.25, classes=6, classifier_activation=None)
    keras_sbn.binarize(model)
    images = np.random.default_rng(3).integers(0, 256, (20, 16, 12, 3), dtype="uint8")
    return Case(
        folder,
        "floats",
        model,
        (1 / 128, -1),
        images,
        list("abcdef"),
        folded=False,
        input_range=(-1, 127 / 128),
        representative_data=images / np.float32(128) - 1,
        **options,
    )


@pytest.fixture
def case(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("case", ["digits", "colour", "floats"], indirect=True)
@pytest.mark.parametrize("build", ["threads", "one thread", "no relaxed SIMD"])
def test_twenty_decisions_are_those_of_keras(browser, case, build):
    script = NO_RELAXED_SIMD if build == "no relaxed SIMD" else None
    differing, tops = 0, set()
    with server_of(build, case.page) as address, opened(browser, address, script=script) as page:
        runtime = page.inner_text("#facts")
        assert ("relaxed SIMD" in runtime) == (build != "no relaxed SIMD")
        assert ("1 thread\n" in f"{runtime}\n") == (build != "threads")
        for image, scores in zip(case.images, case.scores, strict=True):
            choose(page, png(image))
            labels, values = shown(page)
            np.testing.assert_array_equal(seen(page), np.broadcast_to(image, (*image.shape[:2], 3)))
            differing += labels[0] != case.labels[scores.argmax()]
            tops.add(labels[0])
            wanted = [scores[case.labels.index(label)] for label in labels]
            np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-5)
    assert differing == 0
    assert len(tops) > 1


def test_scores_of_eight_bits_are_shown_as_numbers(browser, rounded):
    (output,) = read_file(rounded.content).outputs
    assert output.dtype == "uint8"
    with served(rounded.page) as address, opened(browser, address) as page:
        for image in rounded.images[:3]:
            choose(page, png(image))
            labels, values = shown(page)
            # Of the same file in Python's LiteRT.
            wanted = rounded.predicted(image[np.newaxis] / np.float32(128) - 1)[0]
            np.testing.assert_allclose(values, np.sort(wanted)[::-1][:5], rtol=1e-6)
            found = [wanted[rounded.labels.index(label)] for label in labels]
            np.testing.assert_allclose(values, found, rtol=1e-6)


@contextmanager
def server_of(build, folder):
    if build == "threads":
        with served(folder) as address:
            yield address
        return
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        port = server.stdout.readline().split(b" port ")[1].split()[0].decode()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.kill()


def noise(rows, columns, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels), dtype="uint8")


def photograph(rows, columns):
    """Smooth colours with a little noise, as JPEG is made for."""
    y, x = np.mgrid[0:rows, 0:columns]
    waves = np.stack([np.sin(x / 70), np.cos(y / 50 + x / 200), np.sin((x + y) / 90)], -1)
    return (128 + 100 * waves + noise(rows, columns, 3) / 12 - 10).clip(0, 255).astype("uint8")


def saved(image, kind, mode=None, **options):
    file = io.BytesIO()
    Image.frombytes(mode or "RGB", image.shape[1::-1], image.tobytes()).save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    return (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    )


def sixteen_bits(image):
    """A PNG of 16 bits a colour, which Pillow does not write."""
    rows, columns, _ = image.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def other_primaries():
    """A colour profile in which red and green have changed places."""
    cms = pytest.importorskip("PIL.ImageCms")
    profile = bytearray(cms.ImageCmsProfile(cms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", profile[128:132])
    entries = {bytes(profile[i : i + 4]): i + 4 for i in range(132, 132 + 12 * count, 12)}
    red, green = (slice(entries[name], entries[name] + 8) for name in (b"rXYZ", b"gXYZ"))
    profile[red], profile[green] = profile[green], profile[red]
    return bytes(profile)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pictures():
    """Sizes and kinds of files; those of the model's own size show every pixel of the decoder."""
    sizes = ((32, 32), (1, 1), (1, 50), (50, 1), (7, 5), (31, 33), (64, 64), (100, 301), (611, 907))
    for rows, columns in (*sizes, (2100, 3000)):
        yield f"{columns} x {rows}.png", png(noise(rows, columns, 3))
    exact = photograph(32, 32)
    for quality, subsampling in ((95, 0), (85, 1), (60, 2)):
        yield f"{quality}.jpg", saved(exact, "JPEG", quality=quality, subsampling=subsampling)
    yield "progressive.jpg", saved(photograph(611, 907), "JPEG", progressive=True)
    yield "grey.jpg", saved(exact[..., 0], "JPEG", "L")
    yield "four inks.jpg", saved(np.asarray(Image.fromarray(exact).convert("CMYK")), "JPEG", "CMYK")
    for orientation in range(2, 9):
        yield f"turned {orientation}.jpg", saved(exact, "JPEG", exif=turned(orientation))
    yield "turned.png", png(noise(40, 70, 3), exif=turned(6))
    yield "grey.png", png(noise(32, 32, 1))
    yield "transparent.png", png(noise(32, 32, 4))
    yield "transparent, large.png", png(noise(1500, 1700, 4))
    yield "grey and transparent.png", saved(noise(32, 32, 2), "PNG", "LA")
    palette = io.BytesIO(), io.BytesIO()
    reduced = Image.fromarray(photograph(90, 120)).quantize(64)
    reduced.save(palette[0], "PNG", transparency=3)
    reduced.save(palette[1], "GIF")
    yield "palette, transparent.png", palette[0].getvalue()
    yield "palette.gif", palette[1].getvalue()
    sixteen = np.random.default_rng(0).integers(0, 65536, (32, 32, 3))
    yield "16 bits.png", sixteen_bits(sixteen)
    yield "16 bits of grey.png", saved(sixteen[..., 0].astype("<u2"), "PNG", "I;16")
    yield "lossless.webp", saved(noise(32, 32, 4), "WEBP", "RGBA", lossless=True, exact=True)
    yield "lossy.webp", saved(exact, "WEBP", quality=85)
    yield "bitmap.bmp", saved(noise(32, 32, 3), "BMP")
    yield "profile.png", png(noise(32, 32, 3), icc_profile=other_primaries())
    yield "profile.jpg", saved(exact, "JPEG", icc_profile=other_primaries())
    plain = png(noise(32, 32, 3))
    at = plain.index(b"IDAT") - 4
    yield "gamma.png", plain[:at] + chunk(b"gAMA", struct.pack(">I", 100_000)) + plain[at:]


@pytest.mark.parametrize("case", ["digits", "colour"], indirect=True)
def test_the_network_sees_what_it_saw_in_training_bit_for_bit(browser, case, tmp_path):
    differing = {}
    with served(case.page) as address, opened(browser, address) as page:
        for name, content in pictures():
            (tmp_path / name).write_bytes(content)
            choose(page, content, name, f"image/{name.rpartition('.')[-1]}")
            assert page.inner_text("#message") == "", name
            received = seen(page)
            height, width, channels = case.images.shape[1:]
            wanted = fit_image(_pixels(tmp_path / name), height, width, channels)
            if (received != wanted).any():
                differing[name] = int(np.abs(received.astype(int) - wanted).max())
    assert differing == {}


def test_it_loads_nothing_from_elsewhere(browser, digits):
    with served(digits.page) as address, opened(browser, address) as page:
        choose(page, png(digits.images[0]))
        assert all(url.startswith((address, f"blob:{address}")) for url in page.requests)
        assert len(page.requests) > 8
        blocked = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)")
        assert blocked == "TypeError"


DROP = """([content, kind]) => {
  const transfer = new DataTransfer();
  if (content) {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
  } else transfer.setData("text/plain", "a word");
  const target = document.getElementById("stage");
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  target.dispatchEvent(event);
}"""
COPY = """async ([content, type]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  await navigator.clipboard.write([new ClipboardItem({ [type]: new Blob([bytes], { type }) })]);
}"""


def text(content):
    return base64.b64encode(content).decode()


def test_pictures_are_dropped_and_pasted(browser, colour):
    allowed = ["clipboard-read", "clipboard-write"]
    with served(colour.page) as address, opened(browser, address, permissions=allowed) as page:
        for number, kind in enumerate(("drop", "paste")):
            page.evaluate(DROP, [text(png(colour.images[number])), kind])
            page.wait_for_selector("#scores data")
            np.testing.assert_array_equal(seen(page), colour.images[number])
            page.evaluate(DROP, ["", kind])
            page.wait_for_selector("#message:visible")
            assert "Expected a picture. Received: text/plain, " in page.inner_text("#message")
            assert page.locator("#scores data").count() == 0
        page.evaluate(COPY, [text(png(colour.images[2])), "image/png"])
        page.click("#paste")
        page.wait_for_selector("#scores data")
        np.testing.assert_array_equal(seen(page), colour.images[2])
        page.evaluate(COPY, [text(b"a word"), "text/plain"])
        page.click("#paste")
        page.wait_for_selector("#message:visible")
        assert "Expected a picture in the clipboard. Received: text/plain" in page.inner_text("#message")


def test_the_camera_is_classified_until_it_is_stopped(playwright, colour):
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with (
        served(colour.page) as address,
        chromium(playwright, *flags) as browser,
        opened(browser, address) as page,
    ):
        page.click("#camera")
        page.wait_for_selector("#scores data")
        first = seen(page)
        while (seen(page) == first).all():
            page.wait_for_timeout(50)
        page.screenshot(path=SHOTS / "camera.png", full_page=True)
        page.click("#camera")
        assert page.inner_text("#camera") == "Camera"
        # Stopped, the last image and its scores stay, and they belong together.
        page.wait_for_timeout(200)
        last = seen(page)
        labels, values = shown(page)
        run = page.evaluate(RUN, [text(colour.content), [{name_of(colour): last.ravel().tolist()}]])
        ((scores,),) = [list(outputs.values()) for outputs in run]
        assert labels[0] == colour.labels[int(np.argmax(scores))]
        np.testing.assert_allclose(values[0], max(scores), rtol=1e-6)
        page.wait_for_timeout(200)
        np.testing.assert_array_equal(seen(page), last)


def name_of(case):
    (name,) = read_file(case.content).input_names
    return name


REFUSING = (
    "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') }"
)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "no camera was found on this device"),
        (REFUSING, "Allow it in the browser's settings"),
        (REFUSING.replace("NotAllowed", "NotReadable"), "another program uses the camera"),
        ("delete Navigator.prototype.mediaDevices", "a page of https:// or of localhost"),
    ],
)
def test_why_there_is_no_camera(browser, digits, script, message):
    with served(digits.page) as address, opened(browser, address, script=script) as page:
        page.click("#camera")
        page.wait_for_selector("#message:visible")
        assert message in page.inner_text("#message")
        assert page.inner_text("#camera") == "Camera"
        # Pictures are classified nevertheless.
        choose(page, png(digits.images[0]))
        assert len(shown(page)[0]) == 5


def test_what_is_no_picture_is_an_error_that_leaves_no_old_answer(browser, digits):
    with served(digits.page) as address, opened(browser, address) as page:
        for name, kind, content in (
            ("notes.txt", "text/plain", b"hello"),
            ("broken.png", "image/png", png(digits.images[0])[:60]),
            ("empty.jpg", "image/jpeg", b""),
        ):
            choose(page, png(digits.images[0]))
            assert page.locator("#scores data").count() == 5
            choose(page, content, name, kind)
            said = page.inner_text("#message")
            assert said.startswith("Expected a picture, such as JPEG, PNG or WebP. Received: ")
            assert f"{name}, of type {kind}" in said
            assert page.locator("#scores data").count() == 0


def damaged(case, folder, change):
    shutil.copytree(case.page, folder)
    change(folder)
    return folder


def settings(**values):
    def change(folder):
        file = folder / "model.json"
        file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "model.tflite").unlink(), "Expected ./model.tflite beside the page"),
        (lambda folder: (folder / "model.json").unlink(), "Expected ./model.json beside the page"),
        (lambda folder: (folder / "model.tflite").write_bytes(b"no"), "LiteRT.js does not take digits"),
        (lambda folder: shutil.rmtree(folder / "litert/core/wasm"), "Expected LiteRT.js"),
        (settings(format=0), "keras-sbn deploy web ... --overwrite"),
        (settings(labels=["one"]), "Expected a model of 1 classes"),
        (
            settings(input={"shape": [9, 8, 1], "dtype": "uint8", "values": [0] * 256}),
            "Expected a model of uint8 [1, 9, 8, 1], as model.json says. Received: uint8 [1, 8, 8, 1]",
        ),
    ],
)
def test_a_page_that_is_not_whole_says_so(browser, digits, tmp_path, change, message):
    folder = damaged(digits, tmp_path / "page", change)
    with served(folder) as address, opened(browser, address, ready="#message:visible") as page:
        assert message in page.inner_text("#message")
        assert page.is_disabled("#choose")


def test_an_operator_that_litert_does_not_have_is_no_answer(browser, digits, tmp_path):
    """LiteRT.js itself gives numbers nevertheless."""
    folder = tmp_path / "page"
    shutil.copytree(digits.page, folder)
    keras_sbn.convert(digits.model, target="lce").save(folder / "model.tflite")
    with served(folder) as address, opened(browser, address, ready="#message:visible") as page:
        said = page.inner_text("#message")
        assert said.startswith("LiteRT.js does not run digits.tflite: ERROR: ")
        assert re.search(r"unresolved custom op: Lce\w+", said)
        assert page.is_disabled("#choose")


def test_a_file_that_is_opened_without_a_server_says_how(browser, digits):
    address = (digits.page / "index.html").as_uri()
    with opened(browser, address, ready="#message:visible") as page:
        assert "--serve, or `python -m http.server`" in page.inner_text("#message")


def test_a_browser_that_changes_pixels_is_named(browser, digits):
    script = """
      const read = CanvasRenderingContext2D.prototype.getImageData;
      CanvasRenderingContext2D.prototype.getImageData = function (...where) {
        const found = read.apply(this, where);
        found.data[0] ^= 1;
        return found;
      };
    """
    with served(digits.page) as address, opened(browser, address, script=script) as page:
        page.wait_for_selector("#message:visible")
        assert "changes the pixels that pages read" in page.inner_text("#message")


def run_in(page, converted, samples):
    """Runs a file in the page; inputs and outputs are lists in the order of the file."""
    info = read_file(converted.content)
    named = [
        {name: x[i].ravel().tolist() for name, x in zip(info.input_names, samples, strict=True)}
        for i in range(len(samples[0]))
    ]
    found = page.evaluate(RUN, [text(converted.content), named])
    return [np.array([outputs[name] for outputs in found], "float32") for name in info.output_names]


def randomized(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.name.endswith("_sharpness"):
            positive = weight.name == "moving_variance"
            weight.assign(
                rng.uniform(0.5, 30, weight.shape) if positive else rng.normal(size=weight.shape)
            )
    keras_sbn.binarize(model)
    return model


def known_networks():
    yield models.BinaryNet((32, 32, 3))
    yield models.QuickNetSmall((64, 64, 3), classes=20)
    inputs = keras.Input((40, 3))
    x = layers.SelfBinarizingConv1D(16, 5, padding="same")(inputs)
    x = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(x))
    x = layers.SelfBinarizingConv1D(8, 3)(x)
    yield keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(layers.BinaryBatchNormalization()(x)))


def test_known_networks_decide_as_keras(browser, digits):
    with served(digits.page) as address, opened(browser, address) as page:
        for model in known_networks():
            folded = keras_sbn.fold(randomized(model), input_scaling=(1 / 128, -1))
            x = np.random.default_rng(1).integers(0, 256, (20, *model.input_shape[1:]), dtype="uint8")
            (received,) = run_in(page, keras_sbn.convert(folded, target="tflite"), [x])
            wanted = folded.predict(x, verbose=0)
            np.testing.assert_array_equal(received.argmax(-1), wanted.argmax(-1))
            np.testing.assert_allclose(received, wanted.reshape(received.shape), atol=1e-5, rtol=1e-5)


def test_random_networks_compute_what_keras_does(browser, digits):
    """On threads, and in a browser without relaxed SIMD, which has one."""
    count = Counter()
    with (
        served(digits.page) as address,
        opened(browser, address) as page,
        opened(browser, address, script=NO_RELAXED_SIMD) as older,
    ):

        @drawing(NETWORKS)
        @given(st.data())
        def check(data):
            model, x = binary_network(data.draw, max_blocks=3)
            samples = [np.asarray(part)[:4] for part in keras.tree.flatten(x)]
            wanted = [np.asarray(part)[:4] for part in keras.tree.flatten(model.predict_on_batch(x))]
            count["drawn"] += 1
            try:
                converted = keras_sbn.convert(model, "tflite", allow_float_fallback=True)
            except ValueError:
                return
            count["converted"] += 1
            for where in (page, older):
                received = run_in(where, converted, samples)
                for a, b in zip(received, wanted, strict=True):
                    a = a.reshape(b.shape)
                    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
                    # A sum that is 0 but for its rounding has no sign.
                    count["outputs"] += a.size
                    count["signs"] += int((((a >= 0) != (b >= 0)) & (np.abs(b) > 1e-6)).sum())
            keras.utils.clear_session()

        check()
    assert count["signs"] == 0
    assert count["converted"] >= 0.6 * count["drawn"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_nothing_sticks_out_of_the_page(browser, colour, width, scheme):
    size = {"width": width, "height": 860}
    with (
        served(colour.page) as address,
        opened(browser, address, viewport=size, color_scheme=scheme) as page,
    ):
        page.screenshot(path=SHOTS / f"{width}_{scheme}_empty.png", full_page=True)
        choose(page, png(photograph(600, 900)))
        page.screenshot(path=SHOTS / f"{width}_{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.evaluate(
            "() => ['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
        )
        text_light, ground_light = (sum(map(int, c[4:-1].split(", "))) for c in colours)
        assert (ground_light > text_light) == (scheme == "light")

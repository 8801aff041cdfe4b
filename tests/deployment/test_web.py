"""`keras-sbn deploy web`: every file that the page loads, and what is refused; no browser takes part."""

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import ROOT

import keras_sbn
from keras_sbn import cli
from keras_sbn.deployment.litert_js import LITERT_FILES, VERSION, how_to_fetch
from keras_sbn.deployment.page_server import PageServer
from keras_sbn.deployment.web import PAGE_FILES, page_template

LABELS = ["cat", "dog", "große Katze"]
MODEL_FILES = ["model.json", "model.tflite"]


def network():
    model = keras.Sequential(
        [
            keras.Input((6, 8, 3)),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras_sbn.layers.SelfBinarizingDense(3),
        ]
    )
    keras_sbn.binarize(model)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    hard, folded = network(), keras_sbn.fold(network(), input_scaling=(1 / 255, 0))
    x = np.random.default_rng(0).random((16, 6, 8, 3), dtype="float32")
    rounded = {"labels": LABELS, "representative_data": x}
    for name, model, options in (
        ("image", folded, {"labels": LABELS}),
        ("float", hard, {"labels": LABELS, "input_range": (-1, 1)}),
        ("bare", hard, {}),
        ("int8_input", hard, {"input_type": "int8", "input_range": (0, 1), **rounded}),
        ("int8_output", folded, {"output_type": "int8", **rounded}),
        ("uint8_output", folded, {"output_type": "uint8", **rounded}),
    ):
        if "representative_data" in options and model is folded:
            options = {**options, "representative_data": (255 * x).astype("uint8")}
        keras_sbn.convert(model, target="tflite", **options).save(folder / f"{name}.tflite")
    keras_sbn.convert(folded, target="lce", labels=LABELS).save(folder / "lce.tflite")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    return folder


def stand_in(folder, version=VERSION):
    """Files in the places of LiteRT.js."""
    for name in LITERT_FILES:
        path = folder / "node_modules/@litertjs" / name.removeprefix("litert/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} of {version}")
    described = {"name": "@litertjs/core", "version": version}
    (folder / "node_modules/@litertjs/core/package.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def litert(tmp_path_factory):
    return stand_in(tmp_path_factory.mktemp("litert"))


def deploy(model, out, *more):
    return cli.main(["deploy", "web", "--model", str(model), "--out", str(out), *map(str, more)])


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def test_the_page_its_runtime_and_the_model_are_written(models, litert, tmp_path, capsys):
    out = tmp_path / "page"
    assert deploy(models / "image.tflite", out, "--litert", litert, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["folder"], said["litert_version"]) == (str(out), VERSION)
    assert sorted(said["files"]) == files_of(out) == sorted([*PAGE_FILES, *LITERT_FILES, *MODEL_FILES])
    for name in PAGE_FILES:
        assert (out / name).read_bytes() == (page_template() / name).read_bytes()
    for name in LITERT_FILES[1:]:
        assert (out / name).read_text().startswith((name, "{"))
    assert (out / "model.tflite").read_bytes() == (models / "image.tflite").read_bytes()
    # Node's own folder does as well.
    assert deploy(models / "image.tflite", tmp_path / "other", "--litert", litert / "node_modules") == 0
    assert contents(tmp_path / "other") == contents(out)
    assert f"with LiteRT.js {VERSION}" in capsys.readouterr().out


def test_the_settings_say_what_the_model_takes_and_gives(models, litert, tmp_path):
    for name in ("image", "float", "uint8_output"):
        assert deploy(models / f"{name}.tflite", tmp_path / name, "--litert", litert) == 0
    image, real, rounded = (
        json.loads((tmp_path / name / "model.json").read_text(encoding="utf-8"))
        for name in ("image", "float", "uint8_output")
    )
    assert (image["name"], image["file"], image["labels"]) == ("image", "image.tflite", LABELS)
    assert image["input"] == {"shape": [6, 8, 3], "dtype": "uint8", "values": list(range(256))}
    assert image["output"] == {"dtype": "float32", "scale": 1.0, "zero_point": 0}
    values = np.array(real["input"]["values"], "float32")
    assert real["input"]["dtype"] == "float32"
    np.testing.assert_array_equal(values, (np.arange(256) * 2 / 255 - 1).astype("float32"))
    assert rounded["output"]["dtype"] == "uint8"
    assert rounded["output"]["scale"] > 0


def test_the_page_has_no_other_files():
    assert files_of(page_template()) == sorted(PAGE_FILES)


def text_of(name):
    return (page_template() / name).read_text(encoding="utf-8")


def test_what_the_page_loads_is_in_the_page():
    index = text_of("index.html")
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', index))
    scripts = [name for name in PAGE_FILES if name.endswith(".js")]
    imported = {name for script in scripts for name in re.findall(r'from "([^"]+)"', text_of(script))}
    (mapped,) = re.findall(r'<script type="importmap">(.*?)</script>', index, re.DOTALL)
    places = json.loads(mapped)["imports"]
    assert {name for name in imported if not name.startswith("./")} <= set(places)
    assert {place.removeprefix("./") for place in places.values()} <= set(LITERT_FILES)
    local = {name.removeprefix("./") for name in imported if name.startswith("./")}
    assert loaded | local == set(PAGE_FILES) - {"index.html"}
    # The browser runs no script that stands in the page but this one, and nothing of another place.
    allowed = base64.b64encode(hashlib.sha256(mapped.encode()).digest()).decode()
    assert f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{allowed}';" in index
    for name in PAGE_FILES:
        assert set(re.findall(r"https?://[^\s\"'`]+", text_of(name))) <= {"http://www.w3.org/2000/svg"}


def test_what_the_code_asks_for_by_name_is_in_the_page():
    ids = set(re.findall(r'\bid="(\w+)"', text_of("index.html")))
    named = set(re.findall(r'\bat\("(\w+)"\)', text_of("app.js")))
    named |= set(re.findall(r'getElementById\("(\w+)"\)', text_of("opened.js")))
    assert len(named) > 10
    assert named <= ids
    styled = set(re.findall(r"^#(\w+)", text_of("style.css"), re.MULTILINE))
    assert styled <= ids


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (
            "lce",
            [],
            "none of the Larq Compute Engine. Received: {model}, which has them. Convert with --target",
        ),
        ("int8_input", [], "an input of int8. Convert with --input-type uint8"),
        ("int8_output", [], "an output of int8. Convert with --output-type uint8"),
        ("bare", [], "Give them (--labels, a text file of a class a line)"),
        (
            "bare",
            ["--labels", "labels.txt"],
            "--input-range 0 1 if the network was trained on image / 255",
        ),
        ("missing", [], "No such file"),
        ("image", ["--aar", "labels.txt"], "Expected --aar with `deploy android` alone"),
        (
            "image",
            ["--litert", "nowhere"],
            "Received: no {folder}/nowhere/node_modules/@litertjs. `npm install",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(models, litert, tmp_path, capsys, model, more, message):
    more = [str(models / word) if word in ("labels.txt", "nowhere") else word for word in more]
    path = models / f"{model}.tflite"
    if "--litert" not in more:
        more += ["--litert", str(litert)]
    assert deploy(path, tmp_path / "page", *more) == 2
    assert message.format(model=path, folder=models) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_remedies_of_the_errors_work(models, litert, tmp_path):
    """Of `--target tflite`, `--output-type uint8`, `--labels` and `--input-range`."""
    assert deploy(models / "image.tflite", tmp_path / "a", "--litert", litert) == 0
    assert deploy(models / "uint8_output.tflite", tmp_path / "b", "--litert", litert) == 0
    more = ["--labels", models / "labels.txt", "--input-range", "0", "1", "--litert", litert]
    assert deploy(models / "bare.tflite", tmp_path / "c", *more) == 0
    values = json.loads((tmp_path / "c/model.json").read_text(encoding="utf-8"))["input"]["values"]
    np.testing.assert_array_equal(np.float32(values), np.arange(256, dtype="float32") / np.float32(255))


@pytest.mark.parametrize("option", ["--litert", "--serve", "--overwrite"])
def test_options_of_the_page_are_refused_for_android(models, tmp_path, capsys, option):
    more = [option, "folder"] if option == "--litert" else [option]
    command = [
        "deploy",
        "android",
        "--model",
        str(models / "image.tflite"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main([*command, *more]) == 2
    assert f"Expected {option} with `deploy web` alone" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_litert_that_is_not_whole_is_an_error_with_the_command_that_mends_it(models, tmp_path, capsys):
    folder = stand_in(tmp_path / "litert")
    gone = folder / "node_modules/@litertjs/core/wasm/litert_wasm_internal.wasm"
    gone.unlink()
    assert deploy(models / "image.tflite", tmp_path / "page", "--litert", folder) == 2
    said = capsys.readouterr().err
    assert "without core/wasm/litert_wasm_internal.wasm" in said
    assert f"npm install --prefix {folder} @litertjs/core@{VERSION}" in said
    stand_in(folder)
    (folder / "node_modules/@litertjs/core/package.json").write_text('{"name": "left-pad"}')
    assert deploy(models / "image.tflite", tmp_path / "page", "--litert", folder) == 2
    assert "Expected the package.json of @litertjs/core" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def npm_in(folder, script):
    """A program named npm, in a folder for the path."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys, shutil\n{script}\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a script")
def test_npm_fetches_litert_where_the_page_has_none(models, litert, tmp_path, monkeypatch):
    script = (
        "prefix = sys.argv[sys.argv.index('--prefix') + 1]\n"
        f"shutil.copytree({str(litert)!r}, prefix, dirs_exist_ok=True)\n"
        f"json.dump([sys.argv[1:], os.getcwd()], open({str(tmp_path / 'asked')!r}, 'w'))"
    )
    monkeypatch.setenv("PATH", npm_in(tmp_path / "bin", script))
    page = tmp_path / "page"
    assert deploy(models / "image.tflite", page) == 0
    arguments, where = json.loads((tmp_path / "asked").read_text())
    assert arguments[0] == "install"
    assert arguments[-1] == f"@litertjs/core@{VERSION}"
    assert "--ignore-scripts" in arguments
    # In a folder of its own, which is gone.
    assert arguments[arguments.index("--prefix") + 1] == where
    assert not Path(where).exists()
    (tmp_path / "asked").unlink()
    assert deploy(models / "float.tflite", page) == 0
    assert not (tmp_path / "asked").exists()
    (page / LITERT_FILES[2]).unlink()
    assert deploy(models / "float.tflite", page) == 0
    assert (tmp_path / "asked").exists()
    assert files_of(page) == sorted([*PAGE_FILES, *LITERT_FILES, *MODEL_FILES])


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a script")
def test_without_npm_the_error_has_the_command(models, litert, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert deploy(models / "image.tflite", tmp_path / "page") == 2
    said = capsys.readouterr().err
    assert "Received: no npm" in said
    assert f"run `{how_to_fetch()}`, and give that folder: --litert litert_js" in said
    failing = npm_in(tmp_path / "bin", "sys.exit('npm error code ENOTFOUND')")
    monkeypatch.setenv("PATH", failing)
    assert deploy(models / "image.tflite", tmp_path / "page") == 2
    said = capsys.readouterr().err
    assert "Received: exit code 1, npm error code ENOTFOUND" in said
    assert how_to_fetch() in said
    assert not (tmp_path / "page").exists()


def test_a_page_that_is_there_gets_the_new_model_and_keeps_its_code(models, litert, tmp_path):
    page = tmp_path / "page"
    assert deploy(models / "image.tflite", page, "--litert", litert) == 0
    (page / "style.css").write_text("/* mine */")
    (page / "notes.txt").write_text("mine too")
    assert deploy(models / "float.tflite", page) == 0
    assert (page / "model.tflite").read_bytes() == (models / "float.tflite").read_bytes()
    assert (page / "style.css").read_text() == "/* mine */"
    newer = stand_in(tmp_path / "newer", "3.0.0")
    assert deploy(models / "float.tflite", page, "--litert", newer) == 0
    assert (page / LITERT_FILES[1]).read_text().endswith("of 3.0.0")
    assert (page / "style.css").read_text() == "/* mine */"
    assert deploy(models / "float.tflite", page, "--litert", litert, "--overwrite") == 0
    assert (page / "style.css").read_bytes() == (page_template() / "style.css").read_bytes()
    assert (page / "notes.txt").read_text() == "mine too"


@pytest.mark.parametrize("name", ["thesis.txt", "index.html", "model.json"])
def test_a_folder_that_holds_something_else_is_left_alone(models, litert, tmp_path, capsys, name):
    (tmp_path / name).write_text('{"written_by": "me"}')
    for more in ([], ["--overwrite"]):
        assert deploy(models / "image.tflite", tmp_path, "--litert", litert, *more) == 2
        assert "holds a page of `keras-sbn deploy web`. Received:" in capsys.readouterr().err
        assert files_of(tmp_path) == [name]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_interrupted_leaves_no_half_of_a_page(models, litert, tmp_path, monkeypatch, there):
    page = tmp_path / "page"
    if there:
        assert deploy(models / "image.tflite", page, "--litert", litert) == 0
    before = contents(tmp_path)
    write = Path.write_bytes

    def full(path, content):
        if path.name == "style.css":
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert deploy(models / "float.tflite", page, "--litert", litert, "--overwrite") == 2
    assert contents(tmp_path) == before
    assert page.exists() == there


@pytest.fixture
def served(models, litert, tmp_path):
    page = keras_sbn.deployment.write_web_page(models / "image.tflite", tmp_path / "page", litert=litert)
    with PageServer(page.folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def answer(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_server_says_what_browsers_ask_for(served, models):
    kinds = {
        "/": "text/html; charset=utf-8",
        "/app.js": "text/javascript; charset=utf-8",
        "/style.css": "text/css; charset=utf-8",
        "/icon.svg": "image/svg+xml",
        "/model.json": "application/json",
        "/model.tflite": "application/octet-stream",
        "/litert/core/wasm/litert_wasm_internal.wasm": "application/wasm",
    }
    for path, kind in kinds.items():
        response, content = answer(served, path)
        assert (response.status, response.headers["Content-Type"]) == (200, kind)
        # Without these two no memory is shared among threads.
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert response.headers["Cache-Control"] == "no-cache"
        if path == "/model.tflite":
            assert content == (models / "image.tflite").read_bytes()
    for path in ("/litert/", "/../models/labels.txt", "/none"):
        assert answer(served, path)[0].status == 404


def test_it_is_served_until_ctrl_c(models, litert, tmp_path):
    command = ["deploy", "web", "--model", models / "image.tflite", "--out", tmp_path / "page"]
    # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
    start = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('keras_sbn', run_name='__main__', alter_sys=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start, *map(str, command), "--litert", str(litert), "--serve", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            lines = iter(process.stdout.readline, "")
            address = next(line.split()[3] for line in lines if line.startswith("serving it at"))
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert re.fullmatch(r"http://127.0.0.1:\d+/", address)


def test_a_port_that_is_taken_is_an_error(models, litert, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        more = ["--litert", litert, "--serve", port]
        assert deploy(models / "image.tflite", tmp_path / "page", *more) == 2
    said = capsys.readouterr().err
    assert "Expected a port that is free" in said
    assert f"127.0.0.1:{port}" in said
    with pytest.raises(SystemExit):
        deploy(models / "image.tflite", tmp_path / "page", "--litert", litert, "--serve", "70000")
    assert "expected a port, from 0 to 65535" in capsys.readouterr().err


def test_the_browser_s_tests_run_the_version_that_is_fetched():
    assert f"@litertjs/core@{VERSION}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert how_to_fetch() in (ROOT / "docs/web.md").read_text(encoding="utf-8")

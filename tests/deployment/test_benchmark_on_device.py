"""`keras-sbn benchmark --adb` and `--ssh`: recorded output, scripts for devices, what can be wrong."""

import json
import os
import shutil
from pathlib import Path

import keras
import pytest

import keras_sbn
from keras_sbn import cli
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.deployment.benchmark_model import Timings, parse_timings
from keras_sbn.deployment.devices import DeviceError, SshDevice
from keras_sbn.deployment.remote_latency import kind_of_file

#: Printed on a Raspberry Pi by TFLite's tool (github.com/google/XNNPACK, issue 999).
RECORDED = (Path(__file__).parent / "recorded/int8_raspberry_pi.txt").read_text(encoding="utf-8")
#: Printed on a Raspberry Pi 4B by LCE's tool, shortened where the dots are (Larq's end-to-end guide).
RECORDED_LCE = (Path(__file__).parent / "recorded/lce_raspberry_pi.txt").read_text(encoding="utf-8")
#: The statistics as later versions print them, and as all do where every run takes the same time.
LATER = "avg=5.50432e+04 std=1562 p5=53100 median=55001 p95=58000"
WITH_MEDIAN = RECORDED.replace("avg=55043.2 std=1562", LATER)
ALL_THE_SAME = (
    "count=3 curr=12\n\ncount=7 curr=11\n\n"
    "Inference timings in us: Init: 5, First inference: 12, Warmup (avg): 12, Inference (avg): 11\n"
)
UNRESOLVED = (
    "STARTING!\nGraph: [model.tflite]\nLoaded model model.tflite\n"
    "ERROR: Encountered unresolved custom op: LceQuantize.\nSee instructions\n"
    "ERROR: Node number 1 (LceQuantize) failed to prepare.\nFailed to allocate tensors!\n"
    "Benchmarking failed.\n"
)


def test_reads_recorded_output():
    assert parse_timings(RECORDED) == Timings(50, 55.0432, 53.077, 60.727, 1.562, None, 18.777, 18.7227)


def test_reads_recorded_output_of_lce_s_tool():
    assert parse_timings(RECORDED_LCE) == Timings(50, 31.4206, 31.138, 31.929, 0.26, None, 1.471, None)


def test_reads_the_median_of_later_versions():
    found = parse_timings(WITH_MEDIAN)
    assert (found.mean_ms, found.median_ms) == (55.0432, 55.001)


def test_reads_runs_that_all_take_the_same_time():
    assert parse_timings(ALL_THE_SAME) == Timings(7, 0.011, 0.011, 0.011, 0.0, None, 0.005, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UNRESOLVED, "Give LCE's lce_benchmark_model, or convert with --target tflite"),
        ("", "Received: nothing"),
        ("STARTING!\nERROR: Could not open 'x'.\n", r"Received: ERROR: Could not open 'x'\."),
        (
            "sh: ./benchmark_model: Permission denied",
            "Received: sh: ./benchmark_model: Permission denied",
        ),
        (RECORDED.split("Inference timings")[0], "Expected the timings"),
    ],
)
def test_output_without_timings_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_timings(text)


def elf(machine=183):
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with files, and a `bin` with programs that stand for adb, ssh and scp."""
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential(
        [
            keras.Input((32,)),
            keras_sbn.layers.SelfBinarizingDense(32, binarize_input=True),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras_sbn.layers.SelfBinarizingDense(4),
        ]
    )
    keras_sbn.binarize(model)
    keras_sbn.convert(model).save("lce.tflite")
    keras_sbn.convert(model, target="tflite").save("portable.tflite")
    float_model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(4)])
    keras_sbn.convert(float_model, target="tflite").save("float.tflite")
    (tmp_path / "tool").write_bytes(elf())
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def program(folder, name, text):
    path = folder / "bin" / name
    path.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/calls\n{text}\n')
    path.chmod(0o755)


def shell(recorded, machine="aarch64"):
    """What a device answers to the last argument of a command."""
    return (
        'for line; do :; done\ncase "$line" in\n'
        f'  "uname -m") echo {machine};;\n'
        "  'mktemp -d') echo /tmp/tmp.1;;\n"
        f"  *--graph=*) cat {recorded};;\n"
        "esac"
    )


def adb(folder, devices="R58M\tdevice", recorded="recorded", machine="aarch64"):
    (folder / "recorded").write_text(RECORDED)
    (folder / "unresolved").write_text(UNRESOLVED)
    listed = f"List of devices attached\\n{devices}\\n"
    program(
        folder,
        "adb",
        f'if [ "$1" = devices ]; then printf "{listed}"; exit; fi\n{shell(folder / recorded, machine)}',
    )


FILES = ["float.tflite", "portable.tflite", "lce.tflite"]


def test_runs_on_an_android_device(folder, capsys):
    adb(folder)
    command = [
        "benchmark",
        *FILES,
        "--adb",
        "--benchmark-model",
        "tool",
        "--threads",
        "4",
        "--runs",
        "20",
    ]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    for name, kind in zip(FILES, ("float32", "portable", "LCE"), strict=True):
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert line.split()[1] == kind
        assert "55.043" in line
    calls = (folder / "calls").read_text().splitlines()
    pushed = [call for call in calls if " push " in call]
    assert len(pushed) == 4
    assert "--num_runs=20 --num_threads=4 --use_xnnpack=true" in next(
        call for call in calls if "--graph" in call
    )
    assert calls[-1].startswith("adb -s R58M shell rm -rf /data/local/tmp/keras_sbn_")


def test_runs_through_ssh(folder, capsys):
    adb(folder)
    program(folder, "ssh", shell(folder / "recorded"))
    program(folder, "scp", "exit 0")
    command = [
        "benchmark",
        "lce.tflite",
        "--ssh",
        "pi@raspberrypi",
        "--benchmark-model",
        "tool",
        "--json",
    ]
    assert cli.main(command) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["timings"]["runs"]) == ("LCE", 50)
    assert found["file_bytes"] == os.path.getsize("lce.tflite")
    calls = (folder / "calls").read_text()
    assert f" -- {folder}/lce.tflite pi@raspberrypi:/tmp/tmp.1/model.tflite" in calls
    assert calls.splitlines()[-1].endswith("rm -rf /tmp/tmp.1")
    assert "use_xnnpack" not in calls


def test_kinds_of_files(folder):
    found = [kind_of_file(ConvertedModel.load(name)) for name in FILES]
    assert found == ["float32", "portable", "LCE"]


def test_the_kind_of_a_file_without_binary_layers_is_what_multiplies_in_it(folder):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model, input_scaling=(1 / 128, -1))
    assert kind_of_file(keras_sbn.convert(folded, target="tflite")) == "int8 and float32"


def expect(capsys, arguments, *messages):
    assert cli.main(["benchmark", *arguments]) == 2
    said = capsys.readouterr().err
    for message in messages:
        assert message in said


ON_ANDROID = ["lce.tflite", "--adb", "--benchmark-model", "tool"]
ON_PI = ["lce.tflite", "--ssh", "pi", "--benchmark-model", "tool"]


def test_no_adb(folder, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(folder / "bin"))
    expect(capsys, ON_ANDROID, "Expected the program adb", "apt-get install adb")
    expect(capsys, ON_PI, "Expected the program ssh", "apt-get install openssh-client")


@pytest.mark.parametrize(
    ("devices", "more", "message"),
    [
        ("", [], "Received: none (adb devices). Connect one by USB with USB debugging"),
        (
            "A\tdevice\\nB\toffline",
            [],
            "one Android device, or --serial. Received: A (device), B (offline)",
        ),
        ("A\tunauthorized", [], "A (unauthorized). Unlock it and allow USB debugging"),
        ("A\tdevice", ["--serial", "Z"], "Received: Z; there are: A (device)"),
    ],
)
def test_no_android_device(folder, capsys, devices, more, message):
    adb(folder, devices)
    expect(capsys, [*ON_ANDROID, *more], message)


def test_one_of_several_android_devices(folder):
    adb(folder, "A\tdevice\\nB\tdevice")
    assert cli.main(["benchmark", *ON_ANDROID, "--serial", "B"]) == 0
    assert f"adb -s B push {folder}/lce.tflite" in (folder / "calls").read_text()


def test_a_host_that_lets_nobody_in(folder, capsys):
    program(folder, "ssh", "echo 'pi: Permission denied (publickey).' >&2; exit 255")  # OpenSSH's words
    program(folder, "scp", "exit 1")
    expect(capsys, ON_PI, "password. Received: pi: Permission denied (publickey). Turn", "ssh-copy-id pi")
    expect(
        capsys,
        ["lce.tflite", "--ssh=-oProxyCommand=x", "--benchmark-model", "tool"],
        "Expected a host such as pi@raspberrypi",
    )


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-oProxyCommand=x",
        "pi@-oProxyCommand=x",
        "-l@pi",
        "pi pi2",
        "pi;reboot",
        "$(reboot)",
        "`x`",
        "pi\n",
        "a@b@c",
        "pi/x",
        "'pi'",
    ],
)
def test_a_host_is_no_option_and_no_command(folder, host):
    program(folder, "ssh", "exit 1")
    program(folder, "scp", "exit 1")
    with pytest.raises(DeviceError, match="Expected a host such as pi@raspberrypi"):
        SshDevice(host)
    assert not (folder / "calls").exists()


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("raspberrypi.local", "raspberrypi.local"),
        ("ci-runner@10.0.0.7", "ci-runner@10.0.0.7"),
        ("pi@fe80::1%eth0", "pi@[fe80::1%eth0]"),
        ("::1", "[::1]"),
    ],
)
def test_hosts_of_every_form(folder, host, place):
    adb(folder)
    program(folder, "ssh", shell(folder / "recorded"))
    program(folder, "scp", "exit 0")
    device = SshDevice(host)
    device.push(Path("tool"), "tool")
    calls = (folder / "calls").read_text()
    assert f"-- {host} mktemp -d" in calls
    assert f"-- {folder}/tool {place}:/tmp/tmp.1/tool" in calls


@pytest.mark.parametrize("name", ["pi:x.tflite", "-r.tflite", "two words.tflite", "q'uote\".tflite"])
def test_a_local_file_of_any_name_is_local(folder, name, capsys):
    """scp itself copies, with a program in place of ssh that runs the other side's commands here."""
    if shutil.which("scp", path="/usr/bin:/bin") is None:
        pytest.skip("needs scp")
    adb(folder)
    os.rename("lce.tflite", name)
    remote = folder / "remote"
    remote.mkdir()
    script = (
        'for line; do :; done\ncase "$line" in\n'
        '  "uname -m") echo aarch64;;\n'
        f"  'mktemp -d') echo {remote};;\n"
        f"  *--graph=*) cat {folder / 'recorded'};;\n"
        "  'rm -rf '*) ;;\n"
        "  *sftp*) for server in /usr/lib/openssh/sftp-server /usr/libexec/sftp-server; do\n"
        '    [ -x "$server" ] && exec "$server"; done;;\n'
        '  *) exec sh -c "$line";;\n'
        "esac"
    )
    program(folder, "ssh", script)
    program(folder, "scp", f'exec /usr/bin/scp -O -S {folder}/bin/ssh "$@"')
    arguments = ["--ssh", "pi", "--benchmark-model", "tool", "--json", "--", name]
    assert cli.main(["benchmark", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)[0]["file"] == name
    assert (remote / "model.tflite").read_bytes() == Path(name).read_bytes()


@pytest.mark.parametrize("printed", ["", "Welcome!\n/tmp/x", "tmp", "/tmp/x;reboot", "/tmp/a b", "/"])
def test_a_folder_on_the_device_is_one(folder, printed):
    program(folder, "ssh", f"cat <<'EOF'\n{printed}\nEOF")
    program(folder, "scp", "exit 0")
    with pytest.raises(DeviceError, match="print a folder and nothing else"):
        SshDevice("pi")


def test_a_copy_that_fails(folder, capsys):
    adb(folder)
    program(folder, "ssh", shell(folder / "recorded"))
    program(folder, "scp", "echo 'No space left on device' >&2; exit 1")
    expect(capsys, ON_PI, "Expected tool to be copied to pi. Received: No space left on device")
    assert (folder / "calls").read_text().splitlines()[-1].endswith("rm -rf /tmp/tmp.1")


def test_wrong_tools(folder, capsys):
    adb(folder)
    expect(capsys, ON_ANDROID[:2], "Expected --benchmark-model", "docs/devices.md")
    (folder / "tool").write_bytes(elf(62))
    expect(capsys, ON_ANDROID, "Expected a program for aarch64. Received: tool, for x86_64")
    (folder / "tool").write_text("#!/bin/sh\n")
    expect(capsys, ON_ANDROID, "Received: tool, which is none. TFLite's benchmark_model runs stock files")
    expect(capsys, [*ON_ANDROID[:3], "missing"], "No such file or directory. Received: missing")
    (folder / "tool").write_bytes(elf())
    adb(folder, recorded="unresolved")
    expect(
        capsys, ON_ANDROID, "lce.tflite: Expected a tool with the operators of the Larq Compute Engine"
    )


def test_wrong_files(folder, capsys):
    adb(folder)
    expect(
        capsys, ["missing.tflite", *ON_ANDROID[1:]], "No such file or directory. Received: missing.tflite"
    )
    expect(capsys, ["tool", *ON_ANDROID[1:]], "Expected a TFLite model")


def test_options_of_a_device_without_a_device(folder, capsys):
    expect(capsys, ["lce.tflite", "--serial", "A"], "Expected --adb or --ssh with --serial")
    expect(capsys, ["lce.tflite", "--benchmark-model", "tool"], "with --benchmark-model")

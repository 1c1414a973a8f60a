"""The command as a process of its own: terminals, Ctrl-C, a network that does not answer, what is not installed."""
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mxnet as mx
import pytest

ROOT = Path(__file__).parents[2]
MODULE = "examples.mnist_center_loss"
MNIST = os.environ.get("MXLOSS_MNIST_DIR")


def environment(folder, **more):
    given = {key: value for key, value in os.environ.items() if key != "MXLOSS_MNIST_DIR"}
    return {**given, "PYTHONPATH": str(ROOT), "MXNET_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", **more}


def run(folder, *arguments, **more):
    return subprocess.run([sys.executable, "-m", MODULE, "--out", str(folder / "out"), *arguments], cwd=str(ROOT),
                          env=environment(folder, **more), timeout=120, text=True, capture_output=True)


def readable(folder, model):
    """The epoch of the one checkpoint of a model, which can be read."""
    paths = list(folder.glob(model + "-*.params"))
    assert len(paths) == 1
    epoch = int(paths[0].stem[-4:])
    mx.model.load_checkpoint(str(folder / model), epoch)
    return epoch


@pytest.mark.slow
def test_digits_need_no_network_and_no_terminal(tmp_path):
    done = run(tmp_path, "--data", "digits", "--train-size", "300", "--test-size", "50", "--epochs", "2",
               "--devices", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == \
        "data set: digits (8x8 digits of scikit-learn, scaled up), 300 training and 50 test images"
    assert re.search(r"^center_loss epoch 2/2: \[.*\] accuracy .* center_loss ", done.stdout, re.MULTILINE)
    assert {path.name for path in (tmp_path / "out").iterdir()} > {"metrics.jsonl", "summary.json", "embedding.png"}
    assert [readable(tmp_path / "out", model) for model in ("softmax", "center_loss")] == [2, 2]


@pytest.mark.slow
@pytest.mark.skipif(not MNIST, reason="MXLOSS_MNIST_DIR does not name MNIST's folder")
def test_real_mnist_is_taken_from_the_variable(tmp_path):
    done = run(tmp_path, "--train-size", "2000", "--test-size", "500", "--epochs", "2", MXLOSS_MNIST_DIR=MNIST)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "data set: MNIST from {}, 2000 training and 500 test images".format(MNIST)
    models = json.loads((tmp_path / "out" / "summary.json").read_text())["models"]
    assert all(numbers["test_accuracy"] > 0.2 for numbers in models.values())


@pytest.mark.slow
def test_a_terminal_shows_a_bar_per_epoch(tmp_path):
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", MODULE, "--out", str(tmp_path / "out"), "--data", "digits",
                                "--network", "mlp", "--train-size", "300", "--epochs", "2"], cwd=str(ROOT),
                               env=environment(tmp_path), stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = []
    reader = threading.Thread(target=lambda: shown.extend(chunks(master)), daemon=True)
    reader.start()
    out = process.communicate(timeout=120)[0].decode()
    reader.join(10)
    text = b"".join(shown).decode()
    assert process.returncode == 0, text
    bars = re.split("[\r\n]+", text)
    for model, loss in (("softmax", "softmax_loss"), ("center_loss", "center_loss")):
        for epoch in (1, 2):
            full = [bar for bar in bars if re.match(r"{} epoch {}/2 (\d+)/\1, ".format(model, epoch), bar)]
            assert full, text
            assert re.search(loss + r" \d+\.\d{4}", full[-1])
        assert "{} epoch 1/2 validation: ".format(model) in text
        assert model + " epoch" not in out


def chunks(descriptor):
    """What is written to a terminal until it closes."""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            return
        if not chunk:
            return
        yield chunk


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "options"), [
    (signal.SIGINT, 130, ("--devices", "1")), (signal.SIGTERM, 143, ("--devices", "2")),
    (signal.SIGINT, 130, ("--devices", "2", "--api", "gluon"))])
def test_a_signal_leaves_the_last_full_epoch_readable_and_resume_goes_on(tmp_path, number, code, options):
    options += ("--data", "digits", "--network", "mlp", "--epochs", "5000")
    process = subprocess.Popen([sys.executable, "-m", MODULE, "--out", str(tmp_path / "out"), *options], cwd=str(ROOT),
                               env=environment(tmp_path), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for line in process.stdout:
            if line.startswith("softmax epoch 3/5000 validation"):
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in out + err
    assert err == "python -m {}: interrupted; the same command with --resume goes on\n".format(MODULE)
    epoch = readable(tmp_path / "out", "softmax")
    records = [json.loads(row) for row in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert max(record["epoch"] for record in records if not record["partial"]) == epoch >= 3
    done = run(tmp_path, *options, "--resume", "--interrupt-at", str(epoch + 3))
    assert done.returncode == 130, done.stderr
    assert readable(tmp_path / "out", "softmax") == epoch + 2


@pytest.mark.slow
def test_a_network_that_never_answers_costs_at_most_15_seconds(tmp_path):
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen(20)
        proxy = "http://127.0.0.1:{}".format(silent.getsockname()[1])
        process = subprocess.Popen([sys.executable, "-m", MODULE, "--out", str(tmp_path / "out"), "--network", "mlp",
                                    "--train-size", "100", "--epochs", "1"], cwd=str(ROOT), text=True,
                                   env=environment(tmp_path, http_proxy=proxy, https_proxy=proxy, no_proxy=""),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        start = time.monotonic()
        first = process.stdout.readline()
        waited = time.monotonic() - start
        err = process.communicate(timeout=60)[1]
    assert (process.returncode, err) == (0, "")
    assert first.startswith("data set: digits (8x8 digits of scikit-learn, scaled up, because MNIST is not in ")
    assert waited < 15 + 8  # the rest is the start of Python and MXNet
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(("missing", "arguments"), [
    ("tqdm", []), ("matplotlib", []), ("sklearn", ["--data", "digits"]), ("tensorboardX", ["--tensorboard", "t"]),
])
def test_what_is_not_installed_is_named_before_training(tmp_path, missing, arguments):
    code = "import runpy, sys; sys.modules[{!r}] = None; runpy.run_module({!r}, run_name='__main__')".format(
        missing, MODULE)
    done = subprocess.run([sys.executable, "-c", code, "--out", str(tmp_path / "out"), *arguments], cwd=str(ROOT),
                          env=environment(tmp_path), timeout=60, text=True, capture_output=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert missing in done.stderr
    assert done.stderr.rstrip().endswith("pip install mxloss[examples]")
    assert not (tmp_path / "out").exists()

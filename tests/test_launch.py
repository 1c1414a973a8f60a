"""The launcher, with real processes: a marker in their environment finds each of them."""
import io
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from mxloss import launch as module
from mxloss.launch import launch, main

ROOT = str(Path(__file__).resolve().parents[1])
LIMIT = 60

JOIN = """
    import os, sys, time
    import mxnet as mx
    kv = mx.kv.create("dist_sync")
    value = mx.nd.zeros(3)
    kv.init("w", value)
    def add(number):
        kv.push("w", mx.nd.full(3, number))
        kv.pull("w", out=value)
        return value.asnumpy().tolist()
    total = add(10 ** kv.rank)
"""


class Launched:
    """A launcher of its own process, and what is left of its processes."""

    def __init__(self, *arguments):
        self.marker = "MXLOSS_TEST_LAUNCH=" + uuid.uuid4().hex
        name, value = self.marker.split("=")
        environment = dict(os.environ, PYTHONPATH=ROOT, OMP_NUM_THREADS="1", **{name: value})
        self.process = subprocess.Popen([sys.executable, "-m", "mxloss.launch"] + list(arguments), env=environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

    def alive(self):
        """The processes of this launch, the launcher included, as their command lines."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.marker.encode() in (place / "environ").read_bytes():
                    found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                pass
        return found

    def await_line(self, text):
        """Read on to the line that contains `text`."""
        for line in self.process.stdout:
            if text in line:
                return
        raise AssertionError("no line with {!r}; errors: {}".format(text, self.process.stderr.read()))

    def end(self):
        """Status and output."""
        try:
            self.output, self.errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, self.output.splitlines()


@pytest.fixture
def start():
    """Start launchers whose processes do not outlive the test, even where the launcher is wrong."""
    running = []

    def start(*arguments):
        running.append(Launched(*arguments))
        return running[-1]
    yield start
    for item in running:
        item.process.kill()
        item.process.communicate()


@pytest.fixture
def script(tmp_path):
    """A file with a worker's program."""
    def script(*parts):
        path = tmp_path / "worker.py"
        path.write_text("".join(textwrap.dedent(part) for part in parts))
        return str(path)
    return script


def gone_within(launched, seconds):
    """Whether all processes have ended after some seconds at most."""
    until = time.monotonic() + seconds
    while launched.alive() and time.monotonic() < until:
        time.sleep(0.05)
    assert launched.alive() == []


@pytest.mark.slow
def test_workers_agree_and_nothing_is_left_twice_over(start, script):
    path = script(JOIN, "print(os.environ['DMLC_NUM_SERVER'], kv.num_workers, kv.rank, total, sys.argv[1:])")
    for _ in range(2):
        launched = start("-n", "2", "-s", "2", "--timeout", str(LIMIT), "--", sys.executable, "-u", path, "-n", "5")
        status, lines = launched.end()
        assert (status, launched.alive()) == (0, []), (lines, launched.errors)
        assert sorted(lines) == ["worker {0} | 2 2 {0} [11.0, 11.0, 11.0] ['-n', '5']".format(rank) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "wanted", "last"), [
    ("raise RuntimeError('no good')", 1, "RuntimeError: no good"),
    ("sys.exit(3)", 3, None),
    ("threading.Thread(target=time.sleep, args=(600,)).start(); raise SystemExit('a sentence')", 1, "a sentence"),
])
def test_a_failing_worker_ends_all_with_its_status(start, script, how, wanted, last):
    path = script("import threading", JOIN, """
        if kv.rank == 1:
            {}
        add(1)  # waits for the other one
    """.format(how))
    launched = start("--timeout", str(LIMIT), sys.executable, path)
    status, lines = launched.end()
    assert (status, launched.alive()) == (wanted, [])
    assert lines[-1] == "launch | worker 1 ended with status {}".format(wanted)
    if last:
        assert lines[-2] == "worker 1 | " + last
    assert not any("child.py" in line or "runpy" in line for line in lines)


@pytest.mark.slow
def test_a_killed_worker_is_128_and_the_signal(start):
    launched = start("--timeout", str(LIMIT), "--", "sh", "-c",
                     "[ $PORT = $((DMLC_PS_ROOT_PORT + 1)) ] && kill -9 $$; sleep 600")
    status, lines = launched.end()
    assert (status, lines, launched.alive()) == (137, ["launch | worker 0 ended with status 137"], [])


@pytest.mark.slow
@pytest.mark.parametrize("held", [
    "class Held(mx.optimizer.Optimizer):\n    kv = kv\nmx.optimizer.Optimizer.register(Held)",
    "def main():\n    kept = [kv]\n    kept.append(kept)\nmain()\ndel kv",
])
def test_a_worker_that_is_right_but_leaves_its_kvstore_open_succeeds(start, script, held):
    path = script(JOIN, "import atexit\natexit.register(print, 'closed', kv.rank)\n", held + "\nprint(total[0])\n")
    launched = start("--timeout", str(LIMIT), sys.executable, path)
    status, lines = launched.end()
    assert (status, launched.alive()) == (0, []), lines
    assert sorted(lines) == ["worker 0 | 11.0", "worker 0 | closed 0", "worker 1 | 11.0", "worker 1 | closed 1"]


@pytest.mark.slow
def test_an_error_of_the_engine_that_nobody_has_read_is_a_failure(start, script):
    path = script(JOIN, "bad = mx.nd.random.normal(0, -1, shape=(3,))\n")
    launched = start("-n", "1", "--timeout", str(LIMIT), sys.executable, path)
    status, lines = launched.end()
    assert (status, launched.alive()) == (1, [])
    assert any("MXNetError" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_end_of_the_launcher_is_the_end_of_all(start, script, number, wanted):
    path = script(JOIN, """
        if kv.rank == 0:
            print("here")
            time.sleep(600)
        add(1)
    """)
    launched = start("--timeout", str(LIMIT), sys.executable, path)
    launched.await_line("here")
    assert len(launched.alive()) == 5
    launched.process.send_signal(number)
    status, _ = launched.end()
    assert status == wanted
    gone_within(launched, 10.0 if number == signal.SIGKILL else 0.0)


@pytest.mark.slow
def test_what_does_not_listen_is_killed_with_all_that_it_has_started(start):
    launched = start("-n", "1", "--timeout", str(LIMIT), "--grace", "2", "--", "sh", "-c",
                     "trap '' TERM; sleep 600 & echo here; sleep 600; sleep 600")
    launched.await_line("here")
    launched.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    status, lines = launched.end()
    assert (status, launched.alive()) == (143, [])
    assert lines == ["launch | ended by SIGTERM"]
    assert 2 < time.monotonic() - began < module.GRACE + 20  # it would sleep for 600


@pytest.mark.slow
def test_the_timeout_ends_all(start):
    launched = start("-n", "2", "--timeout", "2.5", "sleep", "600")
    status, lines = launched.end()
    assert (status, lines, launched.alive()) == (124, ["launch | ended after 2.5 seconds"], [])


@pytest.mark.slow
def test_lines_stay_whole(start, script):
    path = script("""
        import os, sys, time
        for number in range(200):
            for piece in ("one ", "two ", "thr\\u00e9e ", str(number)):
                stream = sys.stderr if number % 2 else sys.stdout
                stream.write(piece)
            stream.write("\\r\\n" if number % 3 else "\\n")
        os.write(1, b"\\xff no newline")
    """)
    launched = start("-n", "3", "--timeout", str(LIMIT), sys.executable, path)
    status, lines = launched.end()
    assert (status, launched.alive()) == (0, [])
    for rank in range(3):
        own = [line for line in lines if line.startswith("worker {} | ".format(rank))]
        assert own == ["worker {} | one two thr\u00e9e {}".format(rank, number) for number in range(200)] + [
            "worker {} | \ufffd no newline".format(rank)]
    assert len(lines) == 3 * 201


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_all(start):
    launched = start("-n", "1", "--timeout", str(LIMIT), "--", sys.executable, "-c",
                     "import time\nwhile True: print('y' * 1000), time.sleep(.01)")
    launched.await_line("yyy")
    launched.process.stdout.close()
    assert launched.process.wait(timeout=LIMIT) == 141
    assert launched.alive() == []
    assert launched.process.stderr.read() == ""
    launched.process.stdout = None


@pytest.mark.parametrize(("written", "lines"), [
    (b"a\nb\n\nc", ["a", "b", "", "c"]),
    (b"\r 10%\r 50%\r100%\nnext\n", ["100%", "next"]),
    (b"\r 10%\r 50%", [" 50%"]),
    (b"\r 10%\r    \rdone\r\n", ["done"]),
    (b"", []),
])
def test_a_progress_bar_is_its_last_state(written, lines):
    said = []
    for size in (1, 3, 100):
        pieces = [written[at:at + size] for at in range(0, len(written), size)]

        class Pipe(io.BytesIO):
            def read(self, _, pieces=pieces):
                return pieces.pop(0) if pieces else b""
        module._forward(Pipe(), "w", lambda line, name: said.append(line))
    assert said == lines * 3


@pytest.mark.parametrize(("command", "wanted"), [
    ("python {f} -m x", "python + run {f} -m x"),
    ("/usr/bin/python3.9 -uO -B {f}", "/usr/bin/python3.9 -uO -B + run {f}"),
    ("python -W ignore -Xdev -m pkg -c y", "python -Wignore -Xdev + run -m pkg -c y"),
    ("python3 -Im pkg", "python3 -I + run -m pkg"),
    ("python -cpass 1", "python + run -c pass 1"),
    ("{f} 1", "python3 -s + run {f} 1"),
    ("bash -c x", "{s} + exec bash -c x"),
    ("python -", "{s} + exec python -"),
    ("python --version", "{s} + exec python --version"),
    ("python missing.py", "{s} + exec python missing.py"),
    ("python", "{s} + exec python"),
])
def test_python_runs_under_our_eyes_and_the_rest_as_it_is(tmp_path, command, wanted):
    file = tmp_path / "f.py"
    file.write_text("#!/usr/bin/env python3 -s\n")
    names = {"f": str(file), "s": sys.executable}
    words = command.format(**names).split()
    program = words[0] if words[0] == str(file) else sys.executable
    wanted = wanted.replace("+", "{} {}".format(module.CHILD, os.getpid())).format(**names)
    assert " ".join(module._under_child(words, program)) == wanted


def test_a_program_runs_as_python_runs_it(tmp_path, monkeypatch):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    text = "import sys, pickle\nclass A: pass\n" \
           "print(__name__, __file__, sys.argv, sys.path[0], type(pickle.loads(pickle.dumps(A()))) is A)\n"
    (tmp_path / "pkg" / "mod.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    code = "import sys; print(__name__, sys.argv, repr(sys.path[0]))"
    path = str(tmp_path / "pkg" / "mod.py")
    pairs = [[sys.executable] + words for words in (
        [path, "-v"], ["-m", "pkg.mod", "1"], ["-c", code, "-n", "2"], ["-I", path])]
    for words in pairs:
        child = module._under_child(words, sys.executable)
        plain, ours = (subprocess.run(line, stdout=subprocess.PIPE, timeout=LIMIT).stdout for line in (words, child))
        assert ours == plain


@pytest.mark.slow
def test_the_processes_have_the_variables_of_this_launch_only(monkeypatch):
    monkeypatch.setenv("DMLC_INTERFACE", "nonsense0")
    monkeypatch.setenv("DMLC_PS_ROOT_PORT", "1")
    output = io.StringIO()
    assert launch(["sh", "-c", "env | grep -E '^(DMLC|MINE)' | sort"], workers=1, servers=2, env={"MINE": "yes"},
                  output=output, timeout=LIMIT) == 0
    port = output.getvalue().split("ROOT_PORT=")[1].split()[0]
    assert output.getvalue().splitlines() == ["worker 0 | " + line for line in (
        "DMLC_NODE_HOST=127.0.0.1", "DMLC_NUM_SERVER=2", "DMLC_NUM_WORKER=1", "DMLC_PS_ROOT_PORT=" + port,
        "DMLC_PS_ROOT_URI=127.0.0.1", "DMLC_ROLE=worker", "MINE=yes")]
    assert int(port) > 1


@pytest.mark.slow
def test_a_port_that_is_taken_meanwhile_costs_a_second_attempt_only(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, and nobody listens
        wanted = taken.getsockname()[1]
        ports = [wanted, module._free_ports(2)]
        monkeypatch.setattr(module, "_free_ports", lambda count: ports.pop(0))
        output = io.StringIO()
        assert launch(["echo", "fine"], workers=1, output=output, timeout=LIMIT) == 0
    assert output.getvalue().splitlines()[-2:] == [
        "launch | port {} is taken, trying another one".format(wanted), "worker 0 | fine"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["-n", "0", "true"], "launch: `workers` must be a whole number >= 1, got 0"),
    (["-s", "-1", "true"], "launch: `servers` must be a whole number >= 1, got -1"),
    (["--timeout", "0", "true"], "launch: `timeout` must be a finite number > 0, got 0.0"),
    (["--grace", "-1", "true"], "launch: `grace` must be a finite number >= 0, got -1.0"),
    (["-n", "2"], "launch: `command` must be a program and its arguments, got []"),
    (["-n", "2", "--"], "launch: `command` must be a program and its arguments, got []"),
    (["-n", "two", "true"], "argument -n/--workers: invalid int value: 'two'"),
    (["-n"], "argument -n/--workers: expected one argument"),
])
def test_wrong_arguments_are_status_2_and_a_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip().endswith(sentence)


@pytest.mark.parametrize(("arguments", "kind", "sentence"), [
    ({"command": "python x.py"}, TypeError, "launch: `command` must be a list of str, got 'python x.py'"),
    ({"command": ["true"], "workers": 1.5}, TypeError, "launch: `workers` must be a whole number, got 1.5"),
    ({"command": ["true"], "env": ["A=1"]}, TypeError, "launch: `env` must be a dict of str or None, got ['A=1']"),
    ({"command": ["true"], "env": {"DMLC_ROLE": "server"}}, ValueError,
     "launch: `env` must be without MXNet's own variables DMLC_…, got 'DMLC_ROLE'"),
])
def test_wrong_arguments_of_the_function_are_errors(arguments, kind, sentence):
    with pytest.raises(kind) as error:
        launch(**arguments)
    assert str(error.value) == sentence


def test_a_worker_cannot_launch(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    with pytest.raises(ValueError, match="`DMLC_ROLE` must be unset: a process of a launch cannot launch"):
        launch(["true"])


def test_a_command_that_is_not_there_is_127(capsys):
    assert main(["no-such-program", "-n", "1"]) == 127
    assert capsys.readouterr().out == "launch | there is no program 'no-such-program' that can be run\n"


@pytest.mark.parametrize(("words", "ours", "rest"), [
    ("-n 2 -s3 python a.py -n 4", "-n 2 -s3", "python a.py -n 4"),
    ("--timeout=5 --workers 2 -- --epochs 1", "--timeout=5 --workers 2", "--epochs 1"),
    ("-n 2 --epochs 1 -s 9", "-n 2", "--epochs 1 -s 9"),
    ("", "", ""),
])
def test_the_first_foreign_word_begins_the_command(words, ours, rest):
    assert module._split(words.split()) == (ours.split(), rest.split())


@pytest.mark.slow
def test_main_adds_foreign_options_to_a_given_command(capfd):
    assert main(["-n", "1", "--timeout", str(LIMIT), "--epochs", "1", "-n", "7"], command=["echo", "go"]) == 0
    assert capfd.readouterr().out == "worker 0 | go --epochs 1 -n 7\n"

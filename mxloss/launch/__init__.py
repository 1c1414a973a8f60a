"""Start a scheduler, servers and workers of MXNet's parameter server on this machine, and end them together.

    python -m mxloss.launch -n 2 [-s 1] [--timeout SECONDS] [--grace SECONDS] [--] COMMAND [ARG...]

Each worker runs COMMAND, in which ``mx.kv.create('dist_sync')`` finds the others; worker k has rank k. Each line of
output says who wrote it (``worker 0 | …``); of a progress bar that redraws itself with a carriage return, the last
state. The exit status is 0, or that of the first process that failed; 128 + N for one that signal N killed, 124 after
the timeout, 130 after Ctrl-C, 143 after SIGTERM, 141 when nobody reads the output any more, 127 when there is no such
command, 2 for wrong arguments. Whichever it is, no process is left behind, also when the launcher is killed (Linux).

A Python command (``python script.py``, ``python -m module``, ``python -c code``, a script that starts with
``#!…python``) runs under `mxloss/launch/child.py`, which sees to it that a worker that raises, or exits with a status,
is gone at once, and that one that did everything right says so. Limits:

- Anything else (a shell script) runs as it is. Python that it calls has to see to its own end: after an error
  `os._exit`, after a success `del kv`. The timeout helps where it does not.
- A process that leaves its session (`setsid`) is not ended; when the launcher is killed by SIGKILL, neither are the
  processes that a worker has started.
- A worker that fails has three seconds for its threads and its `atexit` functions. After Ctrl-C or SIGTERM, each worker
  gets SIGTERM and has ten seconds, or ``--grace``, to end, with the servers still there: time for the checkpoint of
  `mxloss.fit(stop_on_signal=True)`. A second signal ends all at once.
- Standard input is empty. POSIX only. From a thread other than the main one, `launch` leaves signals to its caller.
"""
import argparse
import codecs
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

from .. import _check

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
HOST = "127.0.0.1"
PORTS = (20000, 32000)  # below those that the kernel gives away by itself
ATTEMPTS = 5  # at a port that somebody else takes in the meantime
TICK = 0.05  # seconds between two looks at the processes
LEAVE = 1.0  # seconds for servers and scheduler to end by themselves after the workers
GRACE = 3.0  # seconds between SIGTERM and SIGKILL
TIMED_OUT, NOT_FOUND, BROKEN = 124, 127, 128 + signal.SIGPIPE


def launch(command, *, workers=2, servers=1, timeout=None, grace=10, env=None, output=None):
    """Run `command` in several processes that train together, and wait for their end.

    Args:
        command: the program and its arguments, a list of str.
        workers: how many processes run it, >= 1.
        servers: how many parameter servers they share, >= 1.
        timeout: seconds after which all are ended; None for no limit.
        grace: seconds that the workers have to end after Ctrl-C or SIGTERM, for a checkpoint; at least 0.
        env: variables that the processes have besides those of this process; MXNet's own (``DMLC_…``, and ``PORT`` of
            the workers) are set here.
        output: text stream for the lines; None for `sys.stdout`.

    Returns:
        The exit status of the launch, see above.

    Raises:
        TypeError, ValueError: for a wrong argument, before anything has started, and inside a worker.

    Examples:
        >>> from mxloss.launch import launch
        >>> launch(["echo", "hello"], workers=1)
        worker 0 | hello
        0
    """
    command = _checked(command, workers, servers, timeout, grace, env)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMLC_")}
    environment.update(env or {}, PYTHONUNBUFFERED="1")
    with _signals() as caught:
        run = _Run(sys.stdout if output is None else output, timeout, grace, caught)
        program = shutil.which(command[0], path=environment.get("PATH", os.defpath))
        if program is None:
            run.say("there is no program {!r} that can be run".format(command[0]))
            return NOT_FOUND
        try:
            return run.all(_under_child(command, program), environment, workers, servers)
        finally:
            run.end()


def main(arguments=None, command=None):
    """The command line of the launcher; returns the exit status.

    Args:
        arguments: the words after the program's name; None for `sys.argv`.
        command: what to run; the words from the first on that is no option of the launcher are added to it. None: they
            are the command.
    """
    parser = argparse.ArgumentParser(
        prog="launch", usage="%(prog)s [-n WORKERS] [-s SERVERS] [--timeout SECONDS] [--grace SECONDS] [--] "
        "{}[ARG...]".format("" if command else "COMMAND "),
        description="Run a command in several workers of MXNet's parameter server on this machine.")
    parser.add_argument("-n", "--workers", type=int, default=2, help="processes that run the command (2)")
    parser.add_argument("-s", "--servers", type=int, default=1, help="parameter servers (1)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end all after this time")
    parser.add_argument("--grace", type=float, metavar="SECONDS", default=10,
                        help="what workers have for a checkpoint after Ctrl-C or SIGTERM (10)")
    ours, rest = _split(sys.argv[1:] if arguments is None else list(arguments))
    options = vars(parser.parse_args(ours))
    command = list(command or []) + rest
    try:
        _checked(command, env=None, **options)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    status = launch(command, **options)
    if status == BROKEN:  # else Python complains about what it cannot flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _split(words):
    """The launcher's own options, which come first, and the rest."""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return words[:at], words[at + 1:]
        if word in ("-n", "-s", "--workers", "--servers", "--timeout", "--grace"):
            at += 2
        elif word in ("-h", "--help") or re.match(r"-[ns]\d|--(workers|servers|timeout|grace)=", word):
            at += 1
        else:
            break
    return words[:at], words[at:]


def _checked(command, workers, servers, timeout, grace, env):
    """`command` as a list; an error for the first argument that is wrong."""
    if "DMLC_ROLE" in os.environ:
        _check.fail("launch", "DMLC_ROLE", "unset: a process of a launch cannot launch others",
                    os.environ["DMLC_ROLE"])
    if isinstance(command, (str, bytes)) or not all(isinstance(word, str) for word in command):
        _check.fail("launch", "command", "a list of str", command, TypeError)
    command = list(command)
    if not command:
        _check.fail("launch", "command", "a program and its arguments", command)
    _check.integer("launch", "workers", workers, 1)
    _check.integer("launch", "servers", servers, 1)
    if timeout is not None:
        _check.number("launch", "timeout", timeout, 0, low_open=True)
    _check.number("launch", "grace", grace, 0)
    if env is not None:
        if not isinstance(env, Mapping):
            _check.fail("launch", "env", "a dict of str or None", env, TypeError)
        for name in env:
            if name.startswith("DMLC_"):
                _check.fail("launch", "env", "without MXNet's own variables DMLC_…", name)
    return command


def _under_child(command, program):
    """`command` as `child.py` runs it."""
    words = command
    with open(program, "rb") as file:
        first = file.readline(256)
    if first.startswith(b"#!") and b"python" in first:
        words = os.fsdecode(first[2:]).split() + [program] + command[1:]
        words = words[1:] if os.path.basename(words[0]) == "env" else words
    child = [CHILD, str(os.getpid())]
    interpreter, script = _python(words)
    if script:
        return interpreter + child + ["run"] + script
    return [sys.executable] + child + ["exec"] + command


def _python(words):
    """A Python command in two parts, ``python -O`` and ``train.py --epochs 2``; another command has no second part."""
    head, rest = words[:1], words[1:]
    if not re.fullmatch(r"python[\d.]*", os.path.basename(words[0])):
        return head, []
    while rest and rest[0].startswith("-"):
        known = re.fullmatch(r"-(?=.)([bBdEIOPqRsSuv]*)(?:([mcWX])(.*))?", rest.pop(0), re.DOTALL)
        if not known:
            return head, []
        flags, letter, value = known.groups()
        if flags:
            head.append("-" + flags)
        if letter:
            value = value or (rest.pop(0) if rest else "")
            if letter in "mc":
                return head, ["-" + letter, value] + rest
            head.append("-" + letter + value)
    return head, rest if rest and os.path.exists(rest[0]) else []  # of a missing script Python itself complains


@contextlib.contextmanager
def _signals():
    """A list to which the signals that ask for an end are added while the context lasts."""
    caught, before = [], {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored, as by nohup, stays ignored
                before[number] = signal.signal(number, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """The processes of one launch."""

    def __init__(self, output, timeout, grace, caught):
        self.output = output
        self.timeout, self.grace = timeout, grace
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.caught = caught
        self.children = []
        self.broken = False
        self.lock = threading.Lock()

    def say(self, line, who="launch"):
        """Write one line, whole."""
        encoding = getattr(self.output, "encoding", None) or "utf-8"
        line = "{} | {}\n".format(who, line).encode(encoding, "replace").decode(encoding)
        with self.lock:
            try:
                self.output.write(line)
                self.output.flush()
            except (OSError, ValueError):  # nobody reads any more
                self.broken = True

    def start(self, name, command, environment):
        """Start one more process, in a session of its own."""
        child = _Child(name, command, environment, self.say)
        self.children.append(child)
        return child

    def all(self, command, environment, workers, servers):
        """Start all processes and wait for the workers; the status of the launch."""
        python = [sys.executable, CHILD, str(os.getpid()), "run", "-c", "import mxnet"]
        environment = dict(environment, DMLC_PS_ROOT_URI=HOST, DMLC_NODE_HOST=HOST,
                           DMLC_NUM_WORKER=str(workers), DMLC_NUM_SERVER=str(servers))
        for _ in range(ATTEMPTS):
            port = _free_ports(workers + 1)
            environment["DMLC_PS_ROOT_PORT"] = str(port)
            scheduler = self.start("scheduler", python, dict(environment, DMLC_ROLE="scheduler"))
            status = self.watch(lambda port=port: _listens(port))
            if scheduler.status is None or _free(port):
                break
            self.children.remove(scheduler)
            self.say("port {} is taken, trying another one".format(port))
        if status:
            return status
        for index in range(servers):
            self.start("server {}".format(index), python, dict(environment, DMLC_ROLE="server"))
        # ps-lite numbers the workers by their ports
        team = [self.start("worker {}".format(index), command, dict(
            environment, DMLC_ROLE="worker", PORT=str(port + 1 + index))) for index in range(workers)]
        status = self.watch(lambda: all(child.status == 0 for child in team))
        if status:
            return status
        patience = time.monotonic() + LEAVE
        return self.watch(lambda: time.monotonic() > patience or all(child.status == 0 for child in self.children))

    def watch(self, done):
        """Wait until `done()` and give 0, or the status for which the launch has to end before."""
        while True:
            for child in self.children:
                if child.poll():
                    self.say("{} ended with status {}".format(child.name, child.status))
                    return child.status
            if self.caught:
                self.say("ended by {}".format(signal.Signals(self.caught[0]).name))
                return 128 + self.caught[0]
            if self.broken:
                return BROKEN
            if self.deadline is not None and time.monotonic() > self.deadline:
                self.say("ended after {:g} seconds".format(self.timeout))
                return TIMED_OUT
            if done():
                return 0
            time.sleep(TICK)

    def end(self):
        """End what is left: ask, wait, kill. A second signal is impatience."""
        asked = len(self.caught)
        team = [child for child in self.children if child.name.startswith("worker")]
        # A worker that wants to leave in order, as `mxloss.fit` does, needs the servers and the other workers for it.
        for children, number, patience in ((team, signal.SIGTERM, self.grace if asked else GRACE),
                                           (self.children, signal.SIGTERM, LEAVE),
                                           (self.children, signal.SIGKILL, GRACE)):
            for child in children:
                child.send(number)
            until = time.monotonic() + patience
            while any(child.poll() is None for child in children) and time.monotonic() < until:
                if len(self.caught) > asked and number == signal.SIGTERM:
                    break
                time.sleep(TICK)
        for child in self.children:
            child.reader.join(1.0)


class _Child:
    """One process, its group and the thread that reads what they write."""

    def __init__(self, name, command, environment, say):
        self.name = name
        self.status = None
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        self.reader = threading.Thread(target=_forward, args=(self.process.stdout, name, say), daemon=True)
        self.reader.start()

    def poll(self):
        """The exit status, None while the process runs. What it has started ends with it."""
        if self.status is None:
            code = self.process.poll()
            if code is not None:
                self._signal_group(signal.SIGKILL)
                self.status = 128 - code if code < 0 else code
        return self.status

    def send(self, number):
        """Signal the process and what it has started."""
        if self.poll() is None:
            self._signal_group(number)

    def _signal_group(self, number):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def _forward(pipe, name, say):
    """Hand on what comes out of `pipe`, line by line."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, chunk = "", True
    with pipe:
        while chunk:
            chunk = pipe.read(1 << 16)
            *lines, rest = (rest + decoder.decode(chunk, final=not chunk)).split("\n")
            for line in lines:
                say(_visible(line), name)
            rest = rest[rest.rstrip("\r").rfind("\r") + 1:]
    if rest:
        say(_visible(rest), name)


def _visible(line):
    """What a terminal would show of a line that went back to its start."""
    return line.rstrip("\r").rpartition("\r")[2]


def _free_ports(count):
    """The first of `count` neighbouring ports that nobody has at the moment."""
    while True:
        first = random.SystemRandom().randrange(*PORTS)
        if all(_free(port) for port in range(first, first + count)):
            return first


def _free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0

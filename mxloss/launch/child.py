"""What each process of a launch runs first: it dies with the launcher, and a worker that fails really ends.

    python [-O …] child.py LAUNCHER run SCRIPT|-m MODULE|-c CODE [ARG…]      Python: under our eyes
    python child.py LAUNCHER exec PROGRAM [ARG…]                             anything else: handed over to

LAUNCHER is the launcher's process id. A file of its own that imports nothing of ours: what the worker sets
before its own ``import mxnet`` has to count.

A worker does not leave in MXNet's own way, which hangs after a failure (ps-lite waits for the other workers) and aborts
after a success when something that outlives ``__main__`` holds the kvstore. After a success, the engine is awaited and
its errors are read, before MXNet's ``atexit`` function makes it drop what is under way. Then Python's own way: other
threads are awaited, ``atexit`` functions are called. After a success, the kvstores are closed, in the barrier that
tells servers and scheduler to end. Then ``os._exit`` with the status.
"""
import atexit
import ctypes
import gc
import os
import runpy
import signal
import sys
import threading
import traceback
import types

PR_SET_PDEATHSIG = 1
PATIENCE = 3.0  # seconds that a failed worker has for its threads and `atexit` functions


def die_with(launcher):
    """Have the kernel kill this process when the launcher is gone (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(128 + signal.SIGKILL)


def run(arguments):
    """Run a script, ``-m module`` or ``-c code`` as ``python`` does; its names."""
    kind, ours = arguments[0], os.path.dirname(os.path.abspath(__file__))
    where = {"-m": os.getcwd(), "-c": ""}.get(kind, os.path.dirname(os.path.realpath(kind)))
    if sys.path and sys.path[0] == ours:  # not so under `python -I`
        sys.path[0] = where
    if kind == "-m":
        sys.argv = arguments[1:]
        return runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    if kind == "-c":
        sys.argv = ["-c"] + arguments[2:]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(main))
        return vars(main)
    path = os.path.abspath(kind)
    sys.argv = [path] + arguments[1:]
    return runpy.run_path(path, run_name="__main__")


def status_of(arguments, kept):
    """Run the worker; the exit status that Python would have given it. `kept` keeps its names, hence its kvstore."""
    try:
        kept.append(run(arguments))
    except SystemExit as stop:
        kept.append(stop)
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException as error:
        kept.append(error.__traceback__)
        trace = error.__traceback__
        while trace.tb_next and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def read_errors():
    """Wait for the engine."""
    if "mxnet.kvstore" in sys.modules:
        sys.modules["mxnet"].nd.waitall()


def close_kvstores():
    """Leave the parameter server together with the other workers."""
    if "mxnet.kvstore" in sys.modules:
        kind = sys.modules["mxnet.kvstore"].KVStore
        for item in gc.get_objects():
            if issubclass(type(item), kind) and "dist" in item.type:
                item.__del__()


def status_after(step):
    """0, or 1 with a traceback where `step()` fails."""
    try:
        step()
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def end(status):
    """End this process at once, with `status`, and with all that it has written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # closed, or taken away by the worker
            pass
    ctypes.CDLL(None).fflush(None)
    os._exit(status)


def leave(worker, result):
    """The last of the `atexit` functions."""
    if os.getpid() != worker:  # a fork of the worker: the kvstore is not its own
        return
    end(result[0] or status_after(close_kvstores))


def start(launcher, how, *arguments):
    """Do what the command line says."""
    die_with(int(launcher))
    if how == "exec":
        os.execvp(arguments[0], arguments)
    result, kept = [1], []
    atexit.register(leave, os.getpid(), result)  # registered first, so called last
    result[0] = status_of(list(arguments), kept) or status_after(read_errors)
    if result[0]:
        timer = threading.Timer(PATIENCE, end, result)
        timer.daemon = True
        timer.start()
    sys.exit(result[0])


if __name__ == "__main__":
    start(*sys.argv[1:])

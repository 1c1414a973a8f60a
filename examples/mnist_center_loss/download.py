"""Fetch MNIST's files from whichever mirror answers, within a fixed time."""
import http.client
import threading
import time
import urllib.parse
import urllib.request

from .mnist import Damaged, unpack
from .output import reason

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
LONGEST = 16 * 2 ** 20  # bytes; the longest of the files has 10 million


class NotDownloaded(Exception):
    """No mirror gave all files in time: the text says why."""


def fetch(names, mirrors=MIRRORS, *, seconds=14.0, silence=3.0, progress=None, clock=time.monotonic):
    """Fetch files, each of them as soon as it is there and found right.

    A mirror that fails, gives a wrong file or says nothing for `silence` seconds is not asked again.

    Args:
        names: which of `mnist.FILES`.
        mirrors: addresses that the name and ``.gz`` are appended to, in the order in which they are asked.
        seconds: after these it is over, whatever the mirrors do.
        silence: after how many seconds without a byte a mirror is given up.
        progress: called with (name, bytes so far, bytes in all or 0) while a file arrives.
        clock: seconds that only grow.

    Yields:
        Pairs (name, content of the gzip file).

    Raises:
        NotDownloaded: a file could not be had.
    """
    deadline = clock() + seconds
    mirrors = list(mirrors)
    problems = []
    for name in names:
        while True:
            if not mirrors:
                raise NotDownloaded("; ".join(problems) or "there is no mirror")
            address = mirrors[0] + name + ".gz"
            try:
                content = _receive(name, address, deadline, silence, progress, clock)
                unpack(name, content)
            except (Damaged, _Failed) as error:
                problems.append("{}: {}".format(urllib.parse.urlsplit(mirrors.pop(0)).hostname, error))
            except _Late:
                raise NotDownloaded("; ".join(problems + ["the {:g} seconds for it are over".format(seconds)]))
            else:
                break
        yield name, content


class _Failed(Exception):
    """A mirror did not give the file."""


class _Late(Exception):
    """There is no time left, for any mirror."""


def _receive(name, address, deadline, silence, progress, clock):
    """The bytes at `address`."""
    transfer = _Transfer(address, silence)
    transfer.start()
    received, heard = 0, clock()
    try:
        while transfer.is_alive():
            transfer.join(0.02)
            if transfer.received > received:
                received, heard = transfer.received, clock()
                if progress:
                    progress(name, received, transfer.length)
            if clock() > deadline:
                raise _Late
            if clock() - heard > silence:
                raise _Failed("no answer for {:g} seconds".format(silence))
    finally:
        transfer.abandoned = True
    if transfer.error:
        raise _Failed(reason(transfer.error))
    return b"".join(transfer.blocks)


class _Transfer(threading.Thread):
    """Reads an address in a thread, because looking up a host's name obeys no time-out."""

    def __init__(self, address, timeout):
        super().__init__(daemon=True)
        self.address, self.timeout = address, timeout
        self.blocks, self.received, self.length = [], 0, 0
        self.error, self.abandoned = None, False

    def run(self):
        try:
            with urllib.request.urlopen(self.address, timeout=self.timeout) as response:
                self.length = int(response.headers.get("Content-Length") or 0)
                while not self.abandoned:
                    block = response.read1(2 ** 16)
                    if not block:
                        break
                    self.blocks.append(block)
                    self.received += len(block)
                    if self.received > LONGEST:
                        raise ValueError("more bytes than the file has")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = error

"""A miniature of MNIST, and a server on this machine that gives its files, or misbehaves."""
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest

from examples.mnist_center_loss import mnist


@pytest.fixture
def miniature(monkeypatch):
    """Contents by name of a data set of 30 and 20 images in MNIST's form, which is taken for MNIST."""
    rng = np.random.RandomState(7)
    contents, files = {}, {}
    for name, (header, _, _) in mnist.FILES.items():
        count = 30 if name.startswith("train") else 20
        if "images" in name:
            body = rng.randint(0, 256, count * mnist.PIXELS)
        else:
            body = np.arange(count) % 10
        contents[name] = bytes(range(header)) + body.astype(np.uint8).tobytes()
        files[name] = (header, count, hashlib.md5(contents[name]).hexdigest())
    monkeypatch.setattr(mnist, "FILES", files)
    return contents


def fill(folder, contents, packed=True):
    """Write the files of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / (name + ".gz")).write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


class Server:
    """Gives files by name, in the way that the first part of the path says."""

    def __init__(self, contents):
        self.contents, self.asked = dict(contents), []
        self.release = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def address(self, way):
        """A mirror all of whose files are given in this way."""
        return "http://127.0.0.1:{}/{}/".format(self.server.server_address[1], way)

    def answer(self, request):
        way, name = request.path.strip("/").split("/")
        self.asked.append((way, name))
        if way == "404" or name[:-3] not in self.contents:
            request.send_error(404)
            return
        content = gzip.compress(self.contents[name[:-3]])
        if way == "hang":
            self.release.wait(20)
            return
        if way == "wrong":
            content = gzip.compress(b"\0" * len(self.contents[name[:-3]]))
        if way == "page":
            content = b"<html>please log in</html>"
        if way == "truncated":
            content = content[:len(content) // 2]
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if way == "cut":
            request.wfile.write(content[:len(content) // 2])
            return
        if way == "drip":
            for byte in content:
                request.wfile.write(bytes([byte]))
                if self.release.wait(0.05):
                    return
        request.wfile.write(content)

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(miniature):
    result = Server(miniature)
    yield result
    result.close()

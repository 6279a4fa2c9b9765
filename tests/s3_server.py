"""An S3 server of its own process (moto's), which tells of each request that it was sent."""

import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import NamedTuple


class Request(NamedTuple):
    method: str
    path: str
    status: int
    key: str  # with which it was signed, and for which region


class Server:
    """A running server; its buckets are gone with it."""

    def __init__(self, url, log, process):
        self.url = url
        self._log = log
        self._process = process

    @contextmanager
    def away(self):
        """Refuse all connections for a while; what is stored stays."""
        self._do("stop")
        try:
            yield
        finally:
            self._do("start")

    def _do(self, what):
        print(what, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def make_bucket(self, name):
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(request).close()

    def take_requests(self):
        """Give what it was asked since this was called last."""
        lines = self._log.read().splitlines()
        return [
            Request(method, path, int(status), key)
            for method, path, status, key in map(str.split, lines)
        ]


@contextmanager
def serve(folder):
    """Run a server until the end of the context."""
    log, errors = folder / "requests", folder / "errors"
    log.touch()
    with errors.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, __file__, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
    try:
        url = process.stdout.readline().strip()
        assert url, errors.read_text()
        with log.open() as opened:
            yield Server(url, opened, process)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def main(log):
    import re

    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    def note(handler, code="-", _size="-"):
        signed = re.search(
            "Credential=([^/]+)/[^/]+/([^/]+)", handler.headers.get("Authorization", "")
        )
        key = "/".join(signed.groups()) if signed else "-"
        words = (handler.command, handler.path, code, key)
        print(*map(str, words), file=log, flush=True)

    WSGIRequestHandler.log_request = note
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    print(f"http://{address}:{port}", flush=True)
    for what in sys.stdin:
        if what == "stop\n":
            server.stop()
        else:
            server = ThreadedMotoServer(address, port, verbose=False)
            server.start()
        print("done", flush=True)
    server.stop()


if __name__ == "__main__":
    with open(sys.argv[1], "a") as requests:
        main(requests)

"""Run `logtrace serve` as people do, and ask it for pages."""

import http.client
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 60


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Site:
    """A server, by the address that it printed."""

    def __init__(self, process, url):
        self.process = process
        self.url = url
        self.port = urlsplit(url).port
        self.token = urlsplit(url).query.removeprefix("token=")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def ask(self, path="/", method="GET", **headers):
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answer(answer.status, answer.headers, text)


@contextmanager
def served(store, *options):
    """Serve a store on a free port until the block ends."""
    command = [sys.executable, "-m", "logtrace", "serve", "--store", str(store), "--port", "0"]
    with subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            url = process.stdout.readline().strip()
            assert url, process.stderr.read()
            yield Site(process, url)
        finally:
            process.kill()

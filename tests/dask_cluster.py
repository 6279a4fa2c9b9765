"""A Dask cluster of processes on the loopback, for tests."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

from distributed import Client

PATIENCE_S = 120


def until(condition):
    """Wait until something holds, and give what it gave."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it never held"
        time.sleep(0.02)
    return found


@contextmanager
def process(folder, *command, **environ):
    """Run a command of Dask until it is left, or was killed."""
    with (folder / f"{command[0]}.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | environ,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class Scheduler:
    """A scheduler with workers of one thread each."""

    def __init__(self, stack, folder, **environ):
        self.folder = folder
        file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        options += ("--scheduler-file", str(file))
        self.process = stack.enter_context(process(folder, "scheduler", *options, **environ))
        self._file = str(file)
        until(file.exists)
        self.client = stack.enter_context(Client(scheduler_file=self._file, set_as_default=False))
        self.address = self.client.scheduler.address

    @contextmanager
    def worker(self, name, **environ):
        """Have a worker, and give its process and its address."""
        options = ("--scheduler-file", self._file, "--name", name, "--nthreads", "1", "--no-nanny")
        options += ("--host", "127.0.0.1", "--no-dashboard", "--memory-limit", "1GB")
        options += ("--local-directory", str(self.folder / name))
        with process(self.folder, "worker", *options, **environ) as child:
            yield child, until(lambda: self._named(name, {"running"}))
        until(lambda: self._named(name) is None)

    # One that has only just come is given nothing.
    def _named(self, name, states=frozenset(["init", "running"])):
        workers = self.client.sync(self.client.scheduler.identity)["workers"].items()
        named = (a for a, each in workers if each["id"] == name and each["status"] in states)
        return next(named, None)

    @contextmanager
    def dying_worker(self, name="dying"):
        """Have a worker that can be stopped, and then killed when it has been given work."""
        with self.worker(name) as (child, address):
            yield Dying(self.client, child, address)


class Dying:
    """A worker that does nothing of what it takes, and dies."""

    def __init__(self, client, child, address):
        self._client, self._child, self._address = client, child, address

    def stop(self):
        """Let it hang."""
        self._child.send_signal(signal.SIGSTOP)

    def die(self):
        """Kill it once it has been given work."""
        until(lambda: self._client.processing()[self._address])
        self._child.kill()


@contextmanager
def cluster(folder, workers, **environ):
    """Have a scheduler with so many workers."""
    with ExitStack() as stack:
        scheduler = Scheduler(stack, folder, **environ)
        for number in range(workers):
            stack.enter_context(scheduler.worker(f"worker{number}"))
        yield scheduler

"""A Dask cluster of processes on the loopback, for tests."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

from distributed import Client

PATIENCE_S = 60


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

    def __init__(self, stack, folder):
        self.folder = folder
        file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        options += ("--scheduler-file", str(file))
        self.process = stack.enter_context(process(folder, "scheduler", *options))
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
            yield child, until(lambda: self._named(name))
        until(lambda: self._named(name) is None)

    def _named(self, name):
        workers = self.client.sync(self.client.scheduler.identity)["workers"]
        return next((a for a, each in workers.items() if each["id"] == name), None)

    @contextmanager
    def dying_worker(self):
        """Have a worker that does nothing of what it takes, and give what kills it when it has."""
        with self.worker("dying") as (child, address):
            child.send_signal(signal.SIGSTOP)

            def die():
                until(lambda: self.client.processing()[address])
                child.kill()

            yield die


@contextmanager
def cluster(folder, workers):
    """Have a scheduler with so many workers."""
    with ExitStack() as stack:
        scheduler = Scheduler(stack, folder)
        for number in range(workers):
            stack.enter_context(scheduler.worker(f"worker{number}"))
        yield scheduler

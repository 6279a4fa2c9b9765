"""Time how fast the records of a guest's ring buffer are read, beside cat; prints JSON.

python bench/drain.py ROUNDS STORE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing

from logtrace.source import boot_id
from logtrace.source.kmsg import KmsgSource
from logtrace.sparing import spare_memory
from logtrace.store import Store
from logtrace.watch import Watch

_KMSG = "/dev/kmsg"


def cat() -> float:
    """Give the seconds that ``cat`` takes until there is no more."""
    descriptor = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK)
    begun = time.monotonic()
    # it ends with an error, as it can't wait
    subprocess.run(
        ["cat"], stdin=descriptor, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    os.close(descriptor)
    return time.monotonic() - begun


def drain() -> float:
    """Give the seconds until all is read."""
    with closing(KmsgSource(boot_id())) as source:
        begun = time.monotonic()
        source.drain()  # reads all, and gives the first of them
        return time.monotonic() - begun


def watch(store: Store) -> tuple[float, int]:
    """Give the seconds until all is read, understood and stored, and how many records it is."""
    spare_memory(at_once=True)
    with closing(KmsgSource(boot_id())) as source:
        watch = Watch(store.host, "guest", [source], positions=store.positions())
        with closing(watch):
            begun = time.monotonic()
            watch.drain()
            return time.monotonic() - begun, watch.progress.records


def main() -> None:
    """Measure all of them in each round; the last one once."""
    rounds, store = sys.argv[1:]
    times = [(cat(), drain()) for _ in range(int(rounds))]
    seconds, records = watch(Store(store))
    print(json.dumps({"records": records, "rounds": times, "watch": seconds}))


if __name__ == "__main__":
    main()

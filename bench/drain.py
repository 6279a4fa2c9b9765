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
from logtrace.store import Store, spare_memory
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


def drain() -> tuple[float, int]:
    """Give the seconds until all is read, and how many records there were."""
    with closing(KmsgSource(boot_id())) as source:
        begun = time.monotonic()
        records = len(source.drain())  # reads all, and gives the first of them
        took = time.monotonic() - begun
        while more := len(source.drain()):
            records += more
    return took, records


def watch(store: Store) -> float:
    """Give the seconds until all is read, understood and stored."""
    spare_memory()
    with closing(KmsgSource(boot_id())) as source:
        watch = Watch(store.host, "guest", [source], positions=store.positions())
        with closing(watch):
            begun = time.monotonic()
            watch.drain()
            return time.monotonic() - begun


def main() -> None:
    """Measure all of them in each round; the last one once."""
    rounds, store = sys.argv[1:]
    results = []
    for _ in range(int(rounds)):
        beside = cat()
        took, records = drain()
        results.append({"records": records, "cat": beside, "drain": took})
    print(json.dumps({"rounds": results, "watch": watch(Store(store))}))


if __name__ == "__main__":
    main()

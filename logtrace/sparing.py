"""Less memory for libraries that keep what they have used; imported before they are."""

from __future__ import annotations

import os

# NumPy has a thread a processor for linear algebra, of which there is none here
_THREADS = {"TOKIO_WORKER_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

# For the allocator of delta-rs. By default each of its dozens of threads keeps what it has freed,
# for the next time. To give back all at once doubles the time that a commit of many rows takes.
_ALLOCATOR = "_RJEM_MALLOC_CONF"
_SOON = "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0"
_AT_ONCE = "narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0"


def spare_memory(*, at_once: bool = False) -> None:
    """Let this process give back the memory that commits took.

    Has an effect before NumPy is imported and before anything is read or stored; variables that
    are set in the environment stay as they are.

    Parameters
    ----------
    at_once
        Whether at once: for a process that lives long and stores few rows at a time.
    """
    wanted = _THREADS | {_ALLOCATOR: _AT_ONCE if at_once else _SOON}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)

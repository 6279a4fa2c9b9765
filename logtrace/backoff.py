"""How long to wait before something that failed is tried again.

Each wait is twice as long as the one before, up to a bound, and between half of that and all of it
by chance: a lab's machines do not come all at once to a store that is back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from logtrace.errors import StoreError

_T = TypeVar("_T")

_FIRST_S = 1.0
_LONGEST_S = 300.0


def pause_s(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Give how long to wait.

    Parameters
    ----------
    failures
        How often in a row it has failed, from 1 on.
    chance
        Gives numbers from 0 to 1.

    Returns
    -------
    float
        Seconds.
    """
    longest = min(_LONGEST_S, _FIRST_S * 2.0 ** min(failures - 1, 30))
    return longest * (1 + chance()) / 2


def try_for(
    seconds: float, attempt: Callable[[], _T], tell: Callable[[StoreError, float], None]
) -> _T:
    """Try something until it succeeds, or has failed for long.

    Parameters
    ----------
    seconds
        How long to begin anew; 0 tries once.
    attempt
        What to try.
    tell
        Called with why it failed, and in how many seconds it is tried again.

    Returns
    -------
    object
        What it gives.

    Raises
    ------
    StoreError
        What it raised last.
    """
    give_up_at = time.monotonic() + seconds
    failures = 0
    while True:
        try:
            return attempt()
        except StoreError as error:
            failures += 1
            pause = pause_s(failures)
            if time.monotonic() + pause > give_up_at:
                raise
            tell(error, pause)
            time.sleep(pause)

"""Names that were mistyped."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def instead_of(name: str, known: Iterable[str]) -> str:
    """Say what may stand in place of a name that is not known.

    Parameters
    ----------
    name
        What was given.
    known
        What there is.

    Returns
    -------
    str
        ``did you mean 'read_bytes'?`` where one is near, else all of them.
    """
    known = list(known)
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    return f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"

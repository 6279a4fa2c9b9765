"""Where things are kept that are slow to make and can be made again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from logtrace.errors import LogtraceError


def folder(*parts: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Give a folder below the cache; it is not created.

    Parameters
    ----------
    *parts
        Names of folders below the cache.
    environ
        The environment: ``$LOGTRACE_CACHE`` names the cache, else it is ``logtrace``
        in ``$XDG_CACHE_HOME``, else in ``~/.cache``.

    Returns
    -------
    pathlib.Path
        The folder, absolute.
    """
    return _base(environ).absolute().joinpath(*parts)


def _base(environ: Mapping[str, str]) -> Path:
    if own := environ.get("LOGTRACE_CACHE"):
        return Path(own)
    if (shared := environ.get("XDG_CACHE_HOME", "")).startswith("/"):
        return Path(shared) / "logtrace"
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(home) / ".cache" / "logtrace"


def make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a cached folder, unless it is there: wholly or not at all.

    Parameters
    ----------
    target
        The folder to make; its name stands for everything it is made from.
    make
        Fills the empty folder it is given; what it raises is passed on, and nothing is kept.

    Returns
    -------
    pathlib.Path
        `target`.

    Raises
    ------
    LogtraceError
        If the cache can't be written.
    """
    if target.is_dir():
        return target
    draft = _draft_beside(target)
    try:
        make(draft)
        draft.chmod(0o755)
        _put(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def keep(target: Path, *content: bytes) -> None:
    """Write a cached file as a whole, in place of the one that is there.

    Where it can't be written, nothing is kept: it is made again the next time.

    Parameters
    ----------
    target
        The file.
    *content
        What is written, one behind the other.
    """
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(content)
            os.replace(draft, target)
        except BaseException:
            os.unlink(draft)
            raise


def _draft_beside(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise LogtraceError(
            f"the cache {target.parent} can't be written: {error.strerror}",
            "name another folder in $LOGTRACE_CACHE",
        ) from error


def _put(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        # Somebody else made the same folder meanwhile: theirs is as good.
        if not target.is_dir():
            raise

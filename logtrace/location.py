"""Where the tables of a host are: in a folder, or in a bucket (`logtrace.bucket`)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from logtrace.errors import StoreError

if TYPE_CHECKING:
    from deltalake import DeltaTable

SCHEMA = 1
"""What rows mean. It is raised when an older logtrace would misunderstand the rows of a newer one;
a new column or table does not raise it."""

SCHEMA_KEY = "logtrace.schema"
"""Property of a table that has `SCHEMA`; a table without it is of the first."""

_COMMIT_BYTES = 64 * 1024  # what a commit needs beside its rows, amply


class Location(Protocol):
    """Where the tables of one host are."""

    @property
    def options(self) -> dict[str, str] | None:
        """What delta-rs needs to know to get there."""

    def url(self, table: str) -> str:
        """Give the path or URL by which delta-rs knows a table."""

    def beside(self, host: str) -> Location:
        """Give where another host's tables are in the same store."""

    def open(self, table: str) -> DeltaTable | None:
        """Open a table as it is now; None if there is none."""

    def open_log(self, table: str) -> DeltaTable | None:
        """Open a table to read its log and to append alone: its files may not be there."""

    def draft(self, table: str) -> str:
        """Give the path or URL where a table is written to that is appended to alone."""

    def bring_files(self, table: str, paths: Sequence[str]) -> None:
        """Have files of a table, as its log calls them, where it is written to alone."""

    def publish(self, table: str) -> None:
        """Let others see what was written there; raises ConflictError if that can't be."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other writers out, where that can be done, and be sure that the place is there."""

    def prepare(self, table: str, size: int) -> None:
        """Make sure that rows of so many bytes can be written; raises OSError."""

    def error(self, table: str, what: str, error: Exception) -> StoreError:
        """Say that a table can't be read, written or the like, why, and what to do about it."""


class Folder:
    """A folder with the tables of a host, on a disk or on NFS.

    Parameters
    ----------
    path
        ``STORE/host=NAME``.
    """

    options = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sign = path / ".watched"
        self._there = next((each for each in (path, path.parent) if each.is_dir()), None)

    def __str__(self) -> str:
        return str(self.path)

    def url(self, table: str) -> str:
        """Give a table's path."""
        return str(self.path / table)

    def beside(self, host: str) -> Folder:
        """Give the folder of another host in the same store."""
        return Folder(self.path.parent / folder_name(host))

    def open(self, table: str) -> DeltaTable | None:
        """Open a table as it is now; None if there is none."""
        return open_folder(self.path / table)

    def open_log(self, table: str) -> DeltaTable | None:
        """Open a table as it is now, with all of its files."""
        return self.open(table)

    def draft(self, table: str) -> str:
        """Give a table's path."""
        return self.url(table)

    def bring_files(self, table: str, paths: Sequence[str]) -> None:
        """Do nothing: they are there."""

    def publish(self, table: str) -> None:
        """Do nothing: it was written in its place."""

    # A Delta table takes several writers, but they would conflict over and over.
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of this host's tables out."""
        self._require_what_was_there()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._there = self.path
            with (self.path / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreError(
                f"store {self.path} can't be written: {error.strerror}",
                "check its permissions and free space, or name another with --store",
            ) from None

    # On a full disk delta-rs panics in a thread of its own, with a trace of it on the terminal.
    def prepare(self, table: str, size: int) -> None:
        """Make a table's folder, and be sure that there is room."""
        folder = self.path / table
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < size + _COMMIT_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def error(self, table: str, what: str, error: Exception) -> StoreError:
        """Say that a table can't be read, written or the like."""
        return _error(self.path / table, what, error)

    # What is stored while a disk is not mounted would be under it when it is.
    def _require_what_was_there(self) -> None:
        if self._there is not None and not self._there.is_dir():
            raise StoreError(
                f"store {self._there} is not there any more", "mount it, or move it back"
            )


def local_files(files: list[str]) -> list[str]:
    """Give paths of files, of which those in a bucket are brought here.

    Parameters
    ----------
    files
        What `logtrace.store.Store.files` gave, here or on another machine.

    Returns
    -------
    list of str
        Paths, in their order.

    Raises
    ------
    StoreError
        If a bucket can't be read, or the copies not written.
    """
    if not files or not files[0].startswith("s3://"):
        return files
    from logtrace.bucket import Bucket

    return Bucket(files[0].partition("/host=")[0]).fetch(files)


# delta-rs decodes a percent sign in a path, so another sign marks what is escaped
def folder_name(host: str) -> str:
    """Name the folder of a host's tables."""
    return "host=" + quote(host, safe="").replace("~", "%7E").replace("%", "~")


def host_name(folder: str) -> str:
    """Name the host whose tables a folder has."""
    return unquote(folder.removeprefix("host=").replace("~", "%"))


def open_folder(folder: Path) -> DeltaTable | None:
    """Open the table in a folder.

    Parameters
    ----------
    folder
        ``STORE/host=NAME/TABLE``.

    Returns
    -------
    DeltaTable or None
        None if there is none.

    Raises
    ------
    StoreError
        If it can't be read, or a newer logtrace wrote it.
    """
    try:
        if not (folder / "_delta_log").is_dir():
            return None
    except OSError as error:
        raise _error(folder, "read", error) from None
    from deltalake.exceptions import DeltaError  # of tables that are not there none is imported

    try:
        return open_table(str(folder))
    except (DeltaError, OSError) as error:
        raise _error(folder, "read", error) from None


def open_table(
    url: str, options: Mapping[str, str] | None = None, shown: str | None = None
) -> DeltaTable | None:
    """Open a table that may not exist; raises what delta-rs does, and StoreError.

    Parameters
    ----------
    url
        Its path or URL.
    options
        What delta-rs needs to know to get there.
    shown
        How it is called in an error. Default: by its URL.

    Returns
    -------
    DeltaTable or None
        None if there is none.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        delta = DeltaTable(url, storage_options=None if options is None else dict(options))
    except TableNotFoundError:
        return None
    schema = int(delta.metadata().configuration.get(SCHEMA_KEY) or 1)
    if schema > SCHEMA:
        raise StoreError(
            f"store {shown or url} was written by a newer logtrace: its schema is {schema}, this"
            f" one knows {SCHEMA}",
            "update logtrace",
        )
    return delta


def _error(place: Path, what: str, error: Exception) -> StoreError:
    remedy = "check its permissions" + ("" if what == "read" else " and free space")
    return StoreError(f"store {place} can't be {what}: {error}", remedy)

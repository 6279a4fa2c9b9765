"""The part of systemd's library that reads journals, sd-journal(3), through ctypes.

The machine's own library reads every journal that the machine writes, whatever its format;
nothing has to be compiled. What it fails at is an `OSError`.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_LOCAL_ONLY = 1 << 0
_INVALIDATE = 2
_CURSOR = re.compile(rb"s=([0-9a-f]{32});i=([0-9a-f]{1,16});")
_SIGNATURES: dict[str, list[Any]] = {
    "sd_journal_open": [ctypes.c_void_p, ctypes.c_int],
    "sd_journal_open_directory": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int],
    "sd_journal_open_files": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int],
    "sd_journal_add_match": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    "sd_journal_add_disjunction": [ctypes.c_void_p],
    "sd_journal_get_fd": [ctypes.c_void_p],
    "sd_journal_process": [ctypes.c_void_p],
    "sd_journal_next": [ctypes.c_void_p],
    "sd_journal_previous": [ctypes.c_void_p],
    "sd_journal_seek_head": [ctypes.c_void_p],
    "sd_journal_seek_tail": [ctypes.c_void_p],
    "sd_journal_get_cursor": [ctypes.c_void_p, ctypes.c_void_p],
    "sd_journal_get_realtime_usec": [ctypes.c_void_p, ctypes.c_void_p],
    "sd_journal_get_data": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p],
    "sd_journal_query_unique": [ctypes.c_void_p, ctypes.c_char_p],
    "sd_journal_enumerate_unique": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p],
}


class Place(NamedTuple):
    """Where an entry stands.

    Parameters
    ----------
    numbering
        Id of the numbering: that of all files that a journal has been rotated through.
    seq
        Number of the entry; the next entry of the numbering, of any program, has the next.
    """

    numbering: str
    seq: int


class Journal:
    """Entries of a journal.

    Parameters
    ----------
    path
        A folder of journal files, or one file; None is the machine's own journal.
    matches
        Alternatives, each of ``FIELD=value`` that an entry must have all of; none is any.

    Raises
    ------
    OSError
        If there is no such library here, or it can't open the journal; methods raise it too.
    """

    def __init__(self, path: Path | None = None, matches: Iterable[Sequence[str]] = ()) -> None:
        self._library = _library()
        self._journal = ctypes.c_void_p()
        opened = ctypes.byref(self._journal)
        if path is None:
            self._do("open", opened, _LOCAL_ONLY)
        elif path.is_dir():
            self._do("open_directory", opened, os.fsencode(path), 0)
        else:
            files = (ctypes.c_char_p * 2)(os.fsencode(path), None)
            self._do("open_files", opened, files, 0)
        self.choose(matches)

    def choose(self, matches: Iterable[Sequence[str]]) -> None:
        """Give no entries but those that have all fields of one of the alternatives."""
        self._library.sd_journal_flush_matches(self._journal)
        for number, alternative in enumerate(matches):
            if number:
                self._call("add_disjunction")
            for match in alternative:
                self._call("add_match", match.encode("utf-8", "surrogateescape"), 0)

    def close(self) -> None:
        """Close its files."""
        self._library.sd_journal_close(self._journal)

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when it changes; `process` silences it."""
        return self._call("get_fd")

    def process(self) -> bool:
        """Take note of changes; say whether files came or went."""
        return self._call("process") == _INVALIDATE

    def next(self) -> bool:
        """Go to the next entry; say whether there is one."""
        return self._call("next") > 0

    def previous(self) -> bool:
        """Go to the entry before; say whether there is one."""
        return self._call("previous") > 0

    def seek_head(self) -> None:
        """Go before the first entry."""
        self._call("seek_head")

    def seek_tail(self) -> None:
        """Go behind the last entry, from where only `previous` leads on."""
        self._call("seek_tail")

    def place(self) -> Place:
        """Say where the entry stands."""
        cursor = ctypes.c_void_p()
        self._call("get_cursor", ctypes.byref(cursor))
        try:
            text = ctypes.string_at(cursor.value or 0)
        finally:
            self._library.free(cursor)
        # sd_journal_get_seqnum() says it too, but is younger than many a machine's systemd
        match = _CURSOR.match(text)
        if match is None:
            raise OSError(f"a cursor of a form that is not known: {text!r}")
        return Place(match[1].decode(), int(match[2], 16))

    def received_us(self) -> int:
        """Say when the journal got the entry, microseconds since 1970, UTC."""
        usec = ctypes.c_uint64()
        self._call("get_realtime_usec", ctypes.byref(usec))
        return usec.value

    def get(self, field: str) -> bytes | None:
        """Give a field of the entry; None if it has no such field."""
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        try:
            self._call("get_data", field.encode(), ctypes.byref(data), ctypes.byref(size))
        except FileNotFoundError:
            return None
        return ctypes.string_at(data.value or 0, size.value)[len(field) + 1 :]

    def unique(self, field: str) -> Iterator[bytes]:
        """Give each value that a field has in any entry, whatever the matches."""
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        self._call("query_unique", field.encode())
        while self._call("enumerate_unique", ctypes.byref(data), ctypes.byref(size)) > 0:
            yield ctypes.string_at(data.value or 0, size.value)[len(field) + 1 :]

    def _call(self, name: str, *values: Any) -> int:
        return self._do(name, self._journal, *values)

    def _do(self, name: str, *values: Any) -> int:
        result = int(getattr(self._library, f"sd_journal_{name}")(*values))
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result


@cache
def _library() -> Any:
    library = ctypes.CDLL("libsystemd.so.0")
    for name, arguments in _SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    library.sd_journal_close.argtypes = [ctypes.c_void_p]
    library.sd_journal_close.restype = None
    library.free.argtypes = [ctypes.c_void_p]
    library.free.restype = None
    return library

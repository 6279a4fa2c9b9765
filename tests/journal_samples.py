"""Journals for tests, written by systemd's own systemd-journal-remote."""

import os
import struct
import subprocess

import pytest

_WRITER = "/lib/systemd/systemd-journal-remote"
_NUMBERING_AT, _LAST_NUMBER_AT = 72, 160  # in the header of a journal file
BOOT = "b1" * 16
MISSED_ID = "e9bf28e6e834481bb6f48f548ad13606"


class JournalFolder:
    """A folder that one machine's entries come into."""

    def __init__(self, folder, name="remote-lab1", host="lab1"):
        if not os.path.exists(_WRITER):
            remedy = "apt-get install systemd-journal-remote"
            (pytest.fail if os.environ.get("LOGTRACE_REQUIRE_ALL") else pytest.skip)(remedy)
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.path = folder / f"{name}.journal"
        self.host = host
        self.usec = 0
        self.rotated = 0

    def add(self, *texts, boot=BOOT, **fields):
        """Append an entry a text, of the kernel where `fields` do not say otherwise."""
        stream = b"".join(self._entry(text, boot, fields) for text in texts)
        subprocess.run(
            [_WRITER, "-o", self.path, "-"], input=stream, check=True, capture_output=True
        )

    def _entry(self, text, boot, fields):
        self.usec += 1000
        text = text if isinstance(text, bytes) else text.encode()
        named = {
            "__REALTIME_TIMESTAMP": 1_700_000_000_000_000 + self.usec,
            "__MONOTONIC_TIMESTAMP": self.usec,
            "_SOURCE_MONOTONIC_TIMESTAMP": self.usec - 7,
            "_BOOT_ID": boot,
            "_HOSTNAME": self.host,
            "_TRANSPORT": "kernel",
            "SYSLOG_FACILITY": 0,
            "PRIORITY": 6,
        }
        lines = [f"{name}={value}\n" for name, value in (named | fields).items()]
        message = b"MESSAGE\n" + struct.pack("<Q", len(text)) + text + b"\n"
        return "".join(lines).encode() + message + b"\n"

    def rotate(self, last_number=None):
        """Put the file aside and go on with its numbering in a new one, as journald does."""
        header = bytearray(self.path.read_bytes()[:192])
        if last_number is not None:
            header[_LAST_NUMBER_AT : _LAST_NUMBER_AT + 8] = struct.pack("<Q", last_number)
        self.rotated += 1
        self.path.rename(self.path.with_name(f"{self.path.stem}@{self.rotated:04}.journal"))
        self.add()
        with self.path.open("r+b") as stream:
            for place, size in ((_NUMBERING_AT, 16), (_LAST_NUMBER_AT, 8)):
                stream.seek(place)
                stream.write(header[place : place + size])

    def damage(self):
        """Put the file aside and begin a new numbering, as journald does after damage."""
        self.rotated += 1
        self.path.rename(self.path.with_name(f"{self.path.stem}@{self.rotated:04}.journal"))

    def vacuum(self, files=1):
        """Remove the oldest files that were put aside."""
        for path in sorted(self.folder.glob("*@*.journal"))[:files]:
            path.unlink()

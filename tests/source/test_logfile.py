import bz2
import gzip
import io
import lzma
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace.errors import SourceError
from logtrace.source.logfile import digest_log, open_log, read_log

TEXT = b"""\
[    0.000000] Linux version 6.1.0
[    1.500000] second
[    2.000001] third
"""


def read(text):
    return list(read_log(io.BytesIO(text), "a.log@0"))


def texts(text):
    return [record.text for record in read(text)]


def zstd(text):
    return pyarrow.Codec("zstd").compress(text, asbytes=True)


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstd],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_a_log_is_read_however_it_is_compressed_and_named(compress, tmp_path):
    path = tmp_path / "kern.log.1"
    path.write_bytes(compress(TEXT))
    with open_log(path) as stream:
        assert stream.read() == TEXT
        stream.seek(0)
        assert [record.text for record in read_log(stream, "a.log@0")] == [
            "Linux version 6.1.0",
            "second",
            "third",
        ]


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT)))
    with open_log(Path("-")) as stream:
        assert stream.read() == TEXT
        assert stream.seek(0) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\2\1\1\0\0\0", "not a text log"),
        (gzip.compress(b"\0\0"), "not a text log"),
        (gzip.compress(TEXT)[:-12], "ended before"),
        (b"\x1f\x8b\0no gzip", "Unknown compression method"),
        (b"BZh9no bzip2", "Invalid data stream"),
        (lzma.compress(TEXT)[:-20], "ended before"),
        (b"\xfd7zXZ\0" + b"no xz" * 9, "[Cc]orrupt"),
        (zstd(TEXT * 9)[:-4], "[Tt]runcated"),
    ],
)
def test_what_is_no_log_is_refused_with_its_path(content, message, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"a\.log: .*({message})"), open_log(path) as stream:
        stream.read()


def test_a_log_that_is_not_there_is_told_with_its_path(tmp_path):
    with (
        pytest.raises(SourceError, match=r"none\.log: No such file or directory"),
        open_log(tmp_path / "none.log"),
    ):
        pass


def test_the_number_of_a_record_is_the_offset_of_its_line():
    assert [record.seq for record in read(TEXT)] == [0, 35, 57]
    assert [TEXT[record.seq :].startswith(b"[") for record in read(TEXT)] == [True] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"\n\n", ["", ""]),
        (TEXT.replace(b"\n", b"\r\n"), ["Linux version 6.1.0", "second", "third"]),
        (TEXT.removesuffix(b"\n"), ["Linux version 6.1.0", "second", "third"]),
        (b"no stamps\nat all\n", ["no stamps", "at all"]),
        (b"$ dmesg\n\n" + TEXT, ["$ dmesg", "Linux version 6.1.0", "second", "third"]),
        (b"[    1.000000] one\n               two\n\n", ["one\ntwo\n"]),
        (b"[    1.000000] one\r\n two\r\n[    2.000000] x\r\n", ["one\n two", "x"]),
        (b"[    1.000000] one\n# prompt\n two\n[    2.000000] x\n", ["one", "# prompt", "x"]),
        (b"[    1.000000] nul \0 inside\n", ["nul \0 inside"]),
    ],
)
def test_indented_lines_without_a_stamp_go_on_with_the_record_before(text, expected):
    assert texts(text) == expected


def test_no_line_of_a_record_is_taken_for_another_record():
    (record,) = read(
        b"[    1.000000] [1] test file[a\n"
        b"               [    1.000000] OS Assignment2 ftrace [1] End] stats [x] read - 0\n"
    )
    assert record.seq == 0


def test_a_line_without_a_stamp_among_others_is_not_the_kernels():
    records = read(b"before\n[    1.000000] one\nnot indented\n")
    assert [record.from_kernel for record in records] == [False, True, False]


def test_a_record_has_no_more_lines_than_fit_in_it():
    first, last = read(b"[    1.000000] one\n" + b" noise\n" * 100_000 + b"[    2.000000] two\n")
    assert 8000 < len(first.text) < 8192
    assert last.text == "two"


def test_a_line_without_end_is_read_in_parts():
    records = read(b"[    1.000000] one\n[    2.000000] " + b"x" * 3_000_000 + b"\n" + TEXT)
    numbers = [record.seq for record in records if record.from_kernel]
    assert numbers == [0, 19, 3_000_035, 3_000_070, 3_000_092]
    assert max(len(record.text) for record in records) <= 1 << 20


def test_a_digest_is_of_the_whole_log_and_leaves_it_at_its_beginning():
    stream = io.BytesIO(b"abc")
    assert digest_log(stream) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert stream.tell() == 0


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=9))
def test_any_log_is_read_in_order(lines):
    stamped = [b"[    1.000000] " + line + b"\n" for line in lines]
    assert texts(b"".join(stamped)) == [text for line in stamped for text in texts(line)]
    numbers = [record.seq for record in read(b"\n".join(lines))]
    assert numbers == sorted(set(numbers))

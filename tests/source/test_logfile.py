import bz2
import gzip
import io
import itertools
import lzma
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logtrace.errors import SourceError
from logtrace.source.forms import FORMS, recognise
from logtrace.source.logfile import LINE_BYTES, LogText, digest_log, open_log, read_log

DATA = Path(__file__).parent.parent / "data"

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


def utf16(text):
    return text.decode().encode("utf-16")


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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_log_that_windows_wrote_is_read(encoding, tmp_path):
    path = tmp_path / "kern.log"
    path.write_bytes((TEXT.decode() + "[    3.000000] 한\n").replace("\n", "\r\n").encode(encoding))
    with open_log(path) as stream:
        found = list(read_log(stream, "a.log@0"))
    assert [record.usec for record in found] == [0, 1_500_000, 2_000_001, 3_000_000]
    assert found[-1].text == "한"


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstd, utf16],
    ids=["plain", "gzip", "bzip2", "xz", "zstd", "utf-16"],
)
def test_a_dash_is_standard_input_packed_or_not(pack, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pack(TEXT))))
    with open_log(Path("-")) as stream:
        assert stream.read() == TEXT
        assert stream.seek(0) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\2\1\1\0\0\0", "not a text log"),
        (gzip.compress(b"\0\0", mtime=0), "not a text log"),
        (gzip.compress(TEXT, mtime=0)[:-12], "ended before"),
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


def test_a_file_that_is_no_log_is_refused_with_what_can_be_given(tmp_path):
    path = tmp_path / "kern.log"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(SourceError) as error, open_log(path):
        pass
    told = str(error.value)
    for word in ("dmesg", "journalctl", "syslog", "console", "kmsg", ".gz", ".bz2", ".xz", ".zst"):
        assert word in told


@pytest.mark.parametrize("form", ["kmsg", "export", "none"])
def test_a_form_that_is_not_the_logs_is_refused_with_all_that_there_are(form):
    with pytest.raises(SourceError) as error:
        list(read_log(io.BytesIO(TEXT), "a.log@0", form=form))
    assert f"a.log: none of its first lines has the form {form}" in str(error.value)
    assert ", ".join(FORMS) in str(error.value)


def test_a_line_without_end_is_read_in_parts():
    records = read(b"[    1.000000] one\n[    2.000000] " + b"x" * 3_000_000 + b"\n" + TEXT)
    numbers = [record.seq for record in records if record.from_kernel]
    assert numbers == [0, 19, 3_000_035, 3_000_070, 3_000_092]
    assert max(len(record.text) for record in records) <= 1 << 20


def test_a_digest_is_of_the_whole_log_and_leaves_it_at_its_beginning():
    stream = io.BytesIO(b"abc")
    assert digest_log(stream) == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert stream.tell() == 0


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=9))
def test_any_log_is_read_in_order(lines):
    stamped = [b"[    1.000000] " + line + b"\n" for line in lines]
    assert texts(b"".join(stamped)) == [text for line in stamped for text in texts(line)]
    numbers = [record.seq for record in read(b"\n".join(lines))]
    assert numbers == sorted(set(numbers))


CAPTURES = [path.read_bytes() for path in sorted((DATA / "forms").iterdir())]
LINES = [line for capture in CAPTURES for line in capture.splitlines(keepends=True)]
PIECES = st.one_of(st.sampled_from(LINES), st.binary(max_size=40), st.sampled_from([b"\n", b"{\n"]))


@st.composite
def damaged(draw):
    """Logs of all forms in one, with pieces cut out and others put between."""
    text = b"".join(draw(st.lists(PIECES, max_size=30)))
    cut = draw(st.integers(0, len(text)))
    return text[:cut] + draw(st.binary(max_size=9)) + text[cut + draw(st.integers(0, 99)) :]


@pytest.mark.parametrize("form", [None, *FORMS])
@given(text=damaged())
def test_no_log_whatever_is_in_it_raises_anything(form, text):
    stream = io.BytesIO(text)
    records = list(read_log(stream, "log@0"))
    lines = LogText("log@0", form=form)
    for number, line in enumerate(text.split(b"\n")):
        lines.feed(number, line)
    lines.finish()
    numbers = [record.seq for record in records]
    assert numbers == sorted(set(numbers))
    for record in records:
        record.text.encode()
        assert record.seq < len(text)


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, text, sizes):
        super().__init__()
        self._rest, self._sizes = text, itertools.cycle(sizes)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._rest[: min(len(buffer), next(self._sizes))]
        self._rest = self._rest[len(part) :]
        buffer[: len(part)] = part
        return len(part)


PACKERS = [bytes, gzip.compress, bz2.compress, lzma.compress, zstd]


@settings(max_examples=30)
@given(
    text=st.sampled_from([capture[:3000] for capture in CAPTURES]),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    pack=st.sampled_from(PACKERS),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
)
def test_however_a_log_is_packed_and_cut_it_has_the_same_records(text, cuts, pack, sizes):
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    packed = b"".join(pack(text[first:last]) for first, last in itertools.pairwise(places))
    expected = read(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(packed)
        with open_log(path) as stream:
            assert list(read_log(stream, "a.log@0")) == expected
    pipe = io.TextIOWrapper(io.BufferedReader(Trickle(packed, sizes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", pipe)
        with open_log(Path("-")) as stream:
            assert list(read_log(stream, "a.log@0")) == expected


def test_what_stands_far_inside_a_line_is_no_line():
    begun = b"[    1.000000] "
    long = begun + b"x" * (LINE_BYTES - len(begun)) + b"[    2.000000] a line of its own?\n"
    records = list(read_log(io.BytesIO(long + b"[    3.000000] usb\n"), "log@0"))
    assert [(record.usec, record.text[-3:]) for record in records] == [
        (1_000_000, "xxx"),
        (3_000_000, "usb"),
    ]


@pytest.mark.parametrize("form", [None, *FORMS])
def test_lines_of_megabytes_take_no_more_than_they_must(form):
    long = 1_200_000
    begun = [b"{", b"[", b"Nov 23 10:00:00 a", b"MESSAGE=x", b"\x1b[", b"a # ", b"6,1,1,"]
    parts = [beginning + beginning[-1:] * long for beginning in begun]
    parts += [b"\x1b[" * long, b"{" + b"\n" * 100_000]
    first = next((c for c in CAPTURES if recognise(c.splitlines()) == form), b"[    1.000000] x\n")
    records = list(read_log(io.BytesIO(first + b"\n" + b"\n".join(parts) + b"\n"), "log@0"))
    assert max(len(record.text) for record in records) <= 1 << 20

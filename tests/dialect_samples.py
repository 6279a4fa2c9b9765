"""A generator of dialects: every aspect in which versions of the module are known to differ."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

TITLES = [
    "OS Assignment2 ftrace",
    "OS Assignment 2 ftrace",
    "OS Assignment-2 ftrace",
    "OS assignment2 ftrace",
    "OS ASSIGNMENT 2 FTRACE",
    "OS  Assignment2  ftrace",
    "OS Assignment2 os_ftrace",
    "Assignment2 ftrace",
    "ftracehooking: OS Assignment2 ftrace",
    "ftrace",
]
STARTS = ["Start", "start", "START", "Started", "Begin", "trace Start"]
ENDS = ["End", "end", "END", "Ended", "Stop", "trace End", "Finished"]
DASHES = ["-", "\u2013", "\u2014", "\u2212", r"\xe2\x80\x93"]
KEYWORDS = ["stats [x]", "start [x]", "stats[x]", "stast [x]", "status [x]", "stats  [X]"]
FILES = ["file[{}]", " file [{}]", "[{}]", "file:[{}]", ""]
BEFORE_CALLS = ["", "[trace time: 184203ns] ", "[184 us] ", "time[184203] ", "took 0.18 ms, "]
BEHIND_CALLS = ["", " read_bytes[20] written_bytes[26]", " (20 / 26 bytes)", "  ", " / 184 us"]
CALLS = [
    ("open", "close", "read", "write", "lseek"),
    ("openat", "close", "read", "write", "lseek"),
    ("OPEN", "CLOSE", "READ", "WRITE", "LSEEK"),
    ("Open", "Close", "Read", "Write", "Seek"),
    ("sys_openat", "sys_close", "sys_read", "sys_write", "sys_lseek"),
    ("open_count", "close_count", "read_count", "write_count", "lseek_count"),
]
MOVED = [
    ("read", "written"),
    ("READ", "WRITTEN"),
    ("Read", "Written"),
    ("read", "wrote"),
    ("reads", "writes"),
    ("read", "write"),
    ("read bytes", "written bytes"),
    ("bytes read", "bytes written"),
]
PIDS = ["[{}]", "({})", "<{}>", "[pid={}]", "[pid: {}]", "pid {}", "pid={}", "PID: {}"]
TAGS = [
    "",
    "ftracehooking: ",
    "[iotracehooking] ",
    "my_ftrace: ",
    "KERN_INFO: ",
    "### ",
    "\x1b[32m",
]
COUNTS = st.integers(-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Spelling:
    """What one version of the module prints around its values."""

    title: str = TITLES[0]
    start: str = "Start"
    end: str = "End"
    before_pid: str = " "
    bracket: str = "{}"
    program: str = ""
    file: str = FILES[0]
    before_file: str = " "
    keyword: str = KEYWORDS[0]
    dash: str = " - "
    slash: str = " / "
    unit: str = ""
    before_calls: str = ""
    behind_calls: str = ""
    between_calls: str = " "
    call: str = "{}[{}]"
    trailing: str = ""
    pid: str = "[{}]"
    keyword_first: bool = False
    moved: tuple = ("read", "written")
    written_first: bool = False
    calls: tuple = CALLS[0]
    order: tuple = (0, 1, 2, 3, 4)
    tag: str = ""

    def of_start(self, pid):
        return self._of_end(self.start, pid)

    def of_end(self, pid):
        return self._of_end(self.end, pid)

    def _of_end(self, keyword, pid):
        apart = self.before_pid or (" " if self.pid[0] in "pP" else "")
        parts = [apart + self.pid.format(self.bracket.format(pid)), f" {keyword}"]
        if self.keyword_first:
            parts[0] = parts[0] if self.before_pid else " " + parts[0]
            parts.reverse()
        return self.tag + self.title + "".join(parts) + self.trailing

    def of_stats(self, owner, comm, file, read, written):
        name = self.file.format(file)
        moved = [
            f"{word}{self.dash}{number}{self.unit}"
            for word, number in zip(self.moved, (read, written), strict=True)
        ]
        return (
            f"{self.tag}[{self.bracket.format(owner)}] {self.program}{comm}{self.before_file}{name}"
            f" {self.keyword} {self.slash.join(moved[:: -1 if self.written_first else 1])}"
            f"{self.trailing}"
        )

    def of_ops(self, *counts):
        items = [self.call.format(*pair) for pair in zip(self.calls, counts, strict=True)]
        said = self.between_calls.join(items[place] for place in self.order)
        return self.tag + self.before_calls + said + self.behind_calls + self.trailing


blank = st.sampled_from(["", " ", "  ", "\t"])

spellings = st.builds(
    Spelling,
    title=st.sampled_from(TITLES),
    start=st.sampled_from(STARTS),
    end=st.sampled_from(ENDS),
    before_pid=blank,
    bracket=st.sampled_from(["{}", " {}", "{} ", " {} "]),
    program=st.sampled_from(["", "/", "/ "]),
    file=st.sampled_from(FILES),
    before_file=st.sampled_from([" ", "  "]),
    keyword=st.sampled_from(KEYWORDS),
    # where a dash may touch the number, a minus would be one more dash
    dash=st.builds("{}{}{}".format, blank, st.sampled_from(DASHES), st.sampled_from(["", " "])),
    slash=st.builds("{}/{}".format, blank, blank),
    unit=st.sampled_from(["", " bytes"]),
    before_calls=st.sampled_from(BEFORE_CALLS),
    behind_calls=st.sampled_from(BEHIND_CALLS),
    between_calls=st.sampled_from([" ", "  ", ", ", ",", "", " / "]),
    call=st.sampled_from(["{}[{}]", "{} [{}]", "{}[ {} ]"]),
    trailing=st.sampled_from(["", " ", "  ", "\n", "\n                "]),
)

# ... and what can't be told apart where lines are joined
wider_spellings = st.builds(
    replace,
    spellings,
    pid=st.sampled_from(PIDS),
    keyword_first=st.booleans(),
    moved=st.sampled_from(MOVED),
    written_first=st.booleans(),
    dash=st.sampled_from([" - ", " -- ", ": ", "=", " = ", " -> ", " ~ ", " => ", " \u2013 "]),
    slash=st.sampled_from([" / ", "/", ", ", " & ", " and ", " | ", "; "]),
    unit=st.sampled_from(["", "B", " bytes", " Byte", "(bytes)", " byte(s)"]),
    calls=st.sampled_from(CALLS),
    order=st.permutations(range(5)).map(tuple),
    call=st.sampled_from(
        ["{}[{}]", "{}({})", "{}<{}>", "{}: {}", "{}={}", "{} = [{}]", "{} -> {}"]
    ),
    between_calls=st.sampled_from([" ", ", ", "; ", " / ", " | ", " & "]),
    tag=st.sampled_from(TAGS),
)

owners = st.sampled_from(["2021202045", "kwos", "student id", "x", "9" * 32])
comms = st.sampled_from(
    ["test", "./test", "a.out", "a.out test", "(null)", "swapper/0", "kworker/u8:1"]
)
names = st.sampled_from(
    ["abc.txt", "", "N/A", "/root/abc.txt", "(null)", "a b", "abc.tx", "4294967287"]
)

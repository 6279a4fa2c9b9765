"""A generator of dialects: every aspect in which versions of the module are known to differ."""

from dataclasses import dataclass

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

    def of_start(self, pid):
        return f"{self.title}{self.before_pid}[{self.bracket.format(pid)}] {self.start}" + (
            self.trailing
        )

    def of_end(self, pid):
        return f"{self.title}{self.before_pid}[{self.bracket.format(pid)}] {self.end}" + (
            self.trailing
        )

    def of_stats(self, owner, comm, file, read, written):
        name = self.file.format(file)
        return (
            f"[{self.bracket.format(owner)}] {self.program}{comm}{self.before_file}{name}"
            f" {self.keyword} read{self.dash}{read}{self.unit}{self.slash}written{self.dash}"
            f"{written}{self.unit}{self.trailing}"
        )

    def of_ops(self, *counts):
        names = ("open", "close", "read", "write", "lseek")
        items = (self.call.format(*pair) for pair in zip(names, counts, strict=True))
        return (
            self.before_calls + self.between_calls.join(items) + self.behind_calls + self.trailing
        )


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

owners = st.sampled_from(["2021202045", "kwos", "student id", "x", "9" * 32])
comms = st.sampled_from(
    ["test", "./test", "a.out", "a.out test", "(null)", "swapper/0", "kworker/u8:1"]
)
names = st.sampled_from(
    ["abc.txt", "", "N/A", "/root/abc.txt", "(null)", "a b", "abc.tx", "4294967287"]
)

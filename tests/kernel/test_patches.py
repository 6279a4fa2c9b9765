"""The patches of the system call, on Debian's sources and on trees that they do not fit."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import debian
import pytest
from kernels import KMOD, need

from logtrace import cache

pytestmark = pytest.mark.kernel

SOURCE_6_1 = Path("/usr/src/linux-source-6.1.tar.xz")
TABLE = "arch/x86/entry/syscalls/syscall_64.tbl"
PROTOTYPES = "include/linux/syscalls.h"
CHANGED = ["Makefile", "Kbuild", TABLE, PROTOTYPES]
CHECKPATCH = [
    f"scripts/{name}" for name in ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")
]

# Where Debian has other sources
SUITES = {"5.10": "bullseye-security", "6.12": "trixie-security", "newest": "trixie-backports"}
# Which patch fits which, and the file that lists the folders there
LAYOUTS = {"5.10": "Makefile", "6.1": "Kbuild", "6.12": "Kbuild"}


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )


def patch(tree: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    return run(KMOD / "kernel/patch", *options, tree, env={**os.environ, **environment})


def snapshot(tree: Path) -> dict[str, object]:
    """Everything there is to know about each file and folder below a tree."""
    return {
        str(path.relative_to(tree)): (
            path.stat().st_mode,
            (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else None,
        )
        for path in sorted(tree.rglob("*"))
    }


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def unpack(tarball: Path, folder: Path, *options: str) -> Path:
    done = run("tar", "-x", "-f", tarball, "-C", folder, "--strip-components=1", *options)
    assert done.returncode == 0, done.stderr
    return folder


def added_lines(before: Path, after: Path) -> dict[str, list[str]]:
    """What the files of one tree have more than those of the other; nothing may be gone."""
    found = {}
    for name in CHANGED:
        diff = run("diff", before / name, after / name).stdout.splitlines()
        assert not [line for line in diff if line.startswith("<")]
        found[name] = [line.removeprefix("> ") for line in diff if line.startswith("> ")]
    return found


# The tree of 6.1


@pytest.fixture(scope="module")
def files_6_1(tmp_path_factory):
    need(None if SOURCE_6_1.exists() else f"no {SOURCE_6_1} (apt-get install linux-source-6.1)")
    names = [f"linux-source-6.1/{name}" for name in CHANGED + CHECKPATCH]
    # reading ends when each was found once
    return unpack(SOURCE_6_1, tmp_path_factory.mktemp("6.1"), "--occurrence=1", *names)


@pytest.fixture
def tree(files_6_1, tmp_path):
    """The files of 6.1 that matter, for a test to change."""
    return Path(shutil.copytree(files_6_1, tmp_path / "linux"))


def test_the_patch_adds_the_call_and_changes_nothing_else(tree, files_6_1):
    done = patch(tree)
    assert done.returncode == 0
    assert re.search(r"added os_ftrace, number 336, to .* with the patch for 6\.1$", done.stderr)
    assert added_lines(files_6_1, tree) == {
        "Makefile": [],
        "Kbuild": ["obj-y\t\t\t+= os_ftrace/"],
        TABLE: ["336\tcommon\tos_ftrace\t\tsys_os_ftrace"],
        PROTOTYPES: [
            "/* os_ftrace/os_ftrace.c */",
            "asmlinkage long sys_os_ftrace(pid_t pid);",
            "",
        ],
    }
    new = set(snapshot(tree)) - set(snapshot(files_6_1))
    assert new == {"os_ftrace", "os_ftrace/Makefile", "os_ftrace/os_ftrace.c"}


def test_a_dry_run_changes_nothing(tree):
    before = snapshot(tree)
    done = patch(tree, "--dry-run")
    assert done.returncode == 0
    assert "the patch for 6.1 fits" in done.stderr
    assert snapshot(tree) == before


def test_a_tree_that_has_the_call_stays_as_it_is(tree):
    patch(tree)
    before = snapshot(tree)
    done = patch(tree)
    assert done.returncode == 0
    assert "has os_ftrace already, from the patch for 6.1" in done.stderr
    assert snapshot(tree) == before


def test_neighbouring_lines_may_differ(tree):
    replace(tree / TABLE, "io_pgetevents", "io_pgetevents_too")
    replace(tree / PROTOTYPES, "/* arch/x86/kernel/ioport.c */", "/* x86 */")
    replace(tree / "Kbuild", "obj-y\t\t\t+= sound/\n", "obj-y\t\t\t+= sound/ more/\n")
    assert patch(tree).returncode == 0
    assert "336\tcommon\tos_ftrace" in (tree / TABLE).read_text()


def _leave_out(name):
    return lambda tree: (tree / name).unlink()


def _change(name, old, new):
    return lambda tree: replace(tree / name, old, new)


def _add_folder(tree):
    (tree / "os_ftrace").mkdir()
    (tree / "os_ftrace/os_ftrace.c").write_text("/* another's */\n")


@pytest.mark.parametrize(
    ("make_unfit", "said"),
    [
        (_leave_out(TABLE), f"is not a Linux source tree for x86-64: it has no {TABLE}"),
        (
            _change(
                TABLE, "334\tcommon\trseq", "336\tcommon\tuprobe\tsys_uprobe\n334\tcommon\trseq"
            ),
            "336 is uprobe in .*: the number is taken",
        ),
        # one file after the other is like no other kernel's
        (_change("Kbuild", "+= virt/", "+= virtual/"), "the one for 6.1 stops at Kbuild"),
        (_change(TABLE, "\trseq\t", "\trsequence\t"), f"the one for 6.1 stops at {TABLE}"),
        (_change(PROTOTYPES, "/* pciconfig", "/* pci"), f"the one for 6.1 stops at {PROTOTYPES}"),
        # parts that are there
        (
            _change("Kbuild", "+= virt/", "+= virt/ os_ftrace/"),
            "has something of os_ftrace, but not",
        ),
        (
            _change(TABLE, "\tsys_rseq\n", "\tsys_rseq\n336\tcommon\tos_ftrace\t\tsys_os_ftrace\n"),
            "has something of os_ftrace, but not all of one patch: take it out first",
        ),
        (_add_folder, "has something of os_ftrace, but not"),
    ],
)
def test_a_tree_that_does_not_fit_stays_as_it_is(tree, make_unfit, said):
    make_unfit(tree)
    before = snapshot(tree)
    done = patch(tree)
    assert done.returncode == 1
    assert re.search(said, done.stderr)
    assert done.stdout == ""
    assert snapshot(tree) == before


def test_none_fits_a_kernel_between_the_layouts(tree):
    replace(tree / TABLE, "\trseq\t", "\trsequence\t")
    done = patch(tree)
    assert "none of the patches fits" in done.stderr
    for name in ("5.4", "5.10", "6.1", "6.12"):
        assert f"the one for {name} stops at" in done.stderr


@pytest.mark.parametrize("file", [*CHANGED[1:], "os_ftrace.c"])
@pytest.mark.parametrize(
    ("accident", "status"), [("exit 1", 1), ("/bin/mv $arguments; kill -TERM $PPID", 130)]
)
def test_a_failure_half_way_is_taken_back(tree, tmp_path, file, accident, status):
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "mv").write_text(
        f'#!/bin/sh\narguments="$*"\ncase "$arguments" in *{Path(file).name}.new-*.old-*) ;;\n'
        f'*{Path(file).name}.new-*) {accident}; exit ;;\nesac\nexec /bin/mv "$@"\n'
    )
    (commands / "mv").chmod(0o755)
    before = snapshot(tree)
    done = patch(tree, PATH=f"{commands}:{os.environ['PATH']}")
    assert done.returncode == status
    assert snapshot(tree) == before


def test_wrong_arguments_are_usage_errors(tree):
    assert run(KMOD / "kernel/patch").returncode == 2
    assert run(KMOD / "kernel/patch", tree, tree).returncode == 2
    assert patch(tree, "--bogus").returncode == 2


@pytest.mark.parametrize("name", ["5.4", "5.10", "6.1", "6.12"])
def test_checkpatch_has_nothing_to_say(files_6_1, name):
    need(None if shutil.which("perl") else "perl is not installed (apt-get install perl)")
    # there is no maintainer to name, and nobody who signs
    options = ["--strict", "--no-tree", "--no-signoff", "--ignore=FILE_PATH_CHANGES"]
    file = KMOD / f"patches/linux-{name}-os_ftrace.patch"
    done = run("perl", files_6_1 / "scripts/checkpatch.pl", *options, file)
    assert done.returncode == 0, done.stdout
    assert "total: 0 errors, 0 warnings, 0 checks" in done.stdout


# Whole trees of several releases


@pytest.fixture(scope="module")
def source(request):
    """A tarball of kernel sources: 6.1's is installed, others come from Debian's mirror."""
    if request.param == "6.1":
        need(None if SOURCE_6_1.exists() else f"no {SOURCE_6_1} (apt-get install linux-source-6.1)")
        return SOURCE_6_1
    need(None if shutil.which("apt-get") else "apt-get is not here: no Debian, no sources")
    name = request.param
    suite = SUITES[name]
    place = cache.folder("sources", f"{suite}-{name}")
    wanted = "[0-9.]+" if name == "newest" else re.escape(name)
    folder = cache.make_once(place, lambda draft: download(suite, wanted, draft))
    (tarball,) = folder.iterdir()
    return tarball


def download(suite: str, wanted: str, draft: Path) -> None:
    """Get the newest of the wanted sources, with lists of its own; nothing is installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sources.list").write_text(f"deb {debian._mirror(suite)} {suite} main\n")
        options = [
            f"-oDir::Etc::SourceList={folder}/sources.list",
            "-oDir::Etc::SourceParts=-",
            f"-oDir::State={folder}",
            "-oDir::State::Status=/dev/null",
            f"-oDir::Cache={folder}",
            "-oAcquire::Languages=none",
            "-oAPT::Sandbox::User=root",
        ]

        def apt(*command):
            done = run(*command, *options, cwd=folder)
            assert done.returncode == 0, done.stderr
            return done.stdout

        apt("apt-get", "-qq", "update")
        listed = apt("apt-cache", "search", "--names-only", f"^linux-source-{wanted}$")
        versions = re.findall(r"^linux-source-([0-9.]+) ", listed, re.MULTILINE)
        newest = max(versions, key=lambda version: [int(part) for part in version.split(".")])
        apt("apt-get", "-qq", "download", f"linux-source-{newest}")
        (deb,) = folder.glob("*.deb")
        done = run("dpkg-deb", "-x", deb, folder / "unpacked")
        assert done.returncode == 0, done.stderr
        shutil.move(folder / f"unpacked/usr/src/linux-source-{newest}.tar.xz", draft)


@pytest.fixture
def whole_tree(source):
    """All that it takes to compile what is not a driver."""
    left_out = ["Documentation/*/*", "drivers/*.[ch]", "sound/*.[ch]", "tools/testing/*"]
    # not in tmp_path: pytest would keep the gigabytes of the last runs
    with tempfile.TemporaryDirectory() as folder:
        yield unpack(source, Path(folder), *(f"--exclude=*/{pattern}" for pattern in left_out))


@pytest.mark.matrix
@pytest.mark.parametrize("source", LAYOUTS, indirect=True)
def test_the_patched_source_compiles(source, whole_tree, tmp_path, request):
    (name,) = (name for name in LAYOUTS if f"[{name}]" in request.node.name)
    for file in CHANGED:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole_tree / file, tmp_path / file)
    done = patch(whole_tree)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"with the patch for {name}\n")
    added = added_lines(tmp_path, whole_tree)
    assert added[TABLE] == ["336\tcommon\tos_ftrace\t\tsys_os_ftrace"]
    assert [file for file in ("Makefile", "Kbuild") if added[file]] == [LAYOUTS[name]]

    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    make = ["make", "-C", whole_tree, "ARCH=x86_64"]
    jobs = f"-j{os.cpu_count()}"
    for target in (["defconfig"], [jobs, "arch/x86/entry/", "os_ftrace/", "kernel/sys_ni.o"]):
        done = run(*make, *target, env=clean)
        assert done.returncode == 0, done.stderr
        assert "os_ftrace" not in done.stderr
    generated = whole_tree / "arch/x86/include/generated/uapi/asm/unistd_64.h"
    assert "#define __NR_os_ftrace 336\n" in generated.read_text()
    assert re.search(
        r"T __x64_sys_os_ftrace$", nm(whole_tree / "os_ftrace/os_ftrace.o"), re.MULTILINE
    )
    users = nm(whole_tree / "arch/x86/entry/syscall_64.o")
    assert re.search(r"U __x64_sys_os_ftrace$", users, re.MULTILINE)


def nm(file: Path) -> str:
    return run("nm", file).stdout


@pytest.mark.matrix
@pytest.mark.parametrize("source", ["newest"], indirect=True)
def test_a_kernel_whose_336_is_uprobe_stays_as_it_is(source, tmp_path):
    top = source.name.removesuffix(".tar.xz")
    names = [f"{top}/{name}" for name in CHANGED]
    tree = unpack(source, tmp_path, "--occurrence=1", *names)
    before = snapshot(tree)
    done = patch(tree)
    assert done.returncode == 1
    assert "336 is uprobe" in done.stderr
    assert snapshot(tree) == before

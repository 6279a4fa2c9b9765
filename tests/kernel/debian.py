"""Kernels of other Debian releases, each in a root folder with the compiler that built it.

Nothing of a root is installed: its packages are unpacked into the cache, so the machine's
own files stay as they are. Modules are built inside the root, as the programs that come with
kernel headers need the C library of their release.
"""

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from logtrace import cache
from logtrace.errors import LogtraceError

# sparse checks, perl and python3 check comments when warnings are asked for
TOOLS = ["gcc", "libc6-dev", "make", "mawk", "perl", "python3-minimal", "sparse"]
FALLBACK_MIRROR = "http://deb.debian.org"


class DebianKernelError(LogtraceError):
    """A kernel can't be fetched or its root can't be entered."""


@dataclass(frozen=True)
class Release:
    """Where a kernel comes from.

    Parameters
    ----------
    codename
        The release whose compiler and libraries go with the kernel.
    suite
        Where the newest kernel of the release is looked for: the release's ``-security`` or
        ``-backports``.
    """

    codename: str
    suite: str


RELEASES = {
    "5.10": Release("bullseye", "bullseye-security"),
    "6.12": Release("trixie", "trixie-security"),
    "newest": Release("trixie", "trixie-backports"),
}


def root(name: str) -> Path:
    """Unpack a kernel, its headers and its compiler, once.

    Parameters
    ----------
    name
        One of `RELEASES`.

    Returns
    -------
    pathlib.Path
        A folder in the cache, laid out as a root file system.

    Raises
    ------
    DebianKernelError
        If that takes a tool or rights that are missing, or the mirror can't be reached.
    """
    release = RELEASES[name]
    recipe = [*_options(release), *_suites(release)]
    digest = hashlib.sha256(shlex.join(recipe).encode()).hexdigest()
    target = cache.folder("debian", f"{name}-{digest[:16]}")
    return cache.make_once(target, lambda draft: _unpack(draft, release))


def enter(root: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command inside a root; the mounts it needs are gone with it.

    Parameters
    ----------
    root
        What `root` returned.
    folder
        A folder of this machine that the command finds at ``/mnt``.
    command
        Program and arguments.

    Returns
    -------
    subprocess.CompletedProcess
        Exit status and, as text, standard output with standard error.

    Raises
    ------
    DebianKernelError
        If this user may not do that.
    """
    _require_root()
    # objtool asks /proc for the program that runs
    script = """
        mount -t proc proc "$1/proc" && mount --bind "$2" "$1/mnt" || exit 125
        root=$1; shift 2
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"
    """
    return subprocess.run(
        [
            *("unshare", "--mount", "--propagation=private"),
            *("sh", "-c", script, "enter", root, folder, *command),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _suites(release: Release) -> list[str]:
    return list(dict.fromkeys([release.codename, f"{release.codename}-security", release.suite]))


def _options(release: Release) -> list[str]:
    kernel = [f"linux-{part}-amd64/{release.suite}" for part in ("image", "headers")]
    return [
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--architectures=amd64"),
        "--aptopt=APT::Install-Recommends false",
        *("--include=?essential", f"--include={','.join(kernel + TOOLS)}"),
    ]


def _unpack(draft: Path, release: Release) -> None:
    _require_root()
    if not shutil.which("mmdebstrap"):
        raise DebianKernelError("mmdebstrap is not installed", "apt-get install mmdebstrap")
    sources = [f"deb {_mirror(suite)} {suite} main" for suite in _suites(release)]
    done = subprocess.run(
        [*_options(release), release.codename, draft, *sources],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        umask=0o022,  # the guest's other users read the folders, too
    )
    if done.returncode:
        end = "\n".join(done.stderr.splitlines()[-10:])
        raise DebianKernelError(
            f"no kernel of {release.suite}:\n{end}", "see whether apt-get reaches its Debian mirror"
        )
    # What the maintainer scripts, which do not run, would do
    (draft / "usr/bin/awk").symlink_to("mawk")
    (draft / "mnt").mkdir(exist_ok=True)


def _require_root() -> None:
    if os.geteuid():
        raise DebianKernelError("other releases' kernels need root", "run this as root")


def _mirror(suite: str) -> str:
    """Name the mirror that this machine's apt uses for such a suite."""
    label = "Debian-Security" if suite.endswith("-security") else "Debian"
    folder = "debian-security" if suite.endswith("-security") else "debian"
    return _configured_mirrors().get(label, f"{FALLBACK_MIRROR}/{folder}")


@functools.cache
def _configured_mirrors() -> dict[str, str]:
    if not shutil.which("apt-get"):
        return {}
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"],
        capture_output=True,
        text=True,
    )
    rows = [line.split("|") for line in targets.stdout.splitlines()]
    return {label: uri for origin, label, uri in rows if origin == "Debian"}

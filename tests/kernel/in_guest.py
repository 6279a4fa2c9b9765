"""Run programs/calls.c in a folder of the guest's own, so that everything about it is known."""

import shlex
from pathlib import Path

import pytest

FOLDER = Path("/tmp/calls")
KINDS = ("sys", "ia32", "x32")

# The shell of the guest has descriptors open that a program must not begin with.
CLEAN = "exec 3>&- 4>&- 5>&-; "
FRESH = f"{CLEAN}rm -rf {FOLDER}; mkdir {FOLDER}; cd {FOLDER}; head -c 1000 /dev/zero > data; "


def calls(machine, *verbs, before="", check=True):
    """Make calls where a file `data` of 1000 bytes is, and nothing else; give their results.

    The first descriptor that the program gets is 3.
    """
    done = machine.run(f"{FRESH}{before}\n{shlex.join(['calls', *verbs])}", check=check)
    return done.stdout.splitlines()


def require_kind(machine, kind):
    """Skip the test where the kernel does not run programs of a kind."""
    if kind == "x32" and machine.calls("x32:getpid") == ["getpid ENOSYS"]:
        pytest.skip("this kernel has no x32 programs (CONFIG_X86_X32_ABI, syscall.x32=y)")


# The smallest 32-bit program: exit(0).
ELF32 = (
    b"\x7fELF\1\1\1" + bytes(9) + b"\2\0\3\0\1\0\0\0" + (0x8048054).to_bytes(4, "little")
    + b"\x34\0\0\0" + bytes(8) + b"\x34\0\x20\0\1\0\0\0\0\0\0\0"
    + b"\1\0\0\0\0\0\0\0" + (0x8048000).to_bytes(4, "little") * 2
    + b"\x60\0\0\0\x60\0\0\0\5\0\0\0\0\x10\0\0"
    + b"\x31\xdb\x31\xc0\x40\xcd\x80" + bytes(5)
)  # fmt: skip


def narrow_program(machine):
    """Make a 32-bit program that only exits; give its path."""
    program = machine.folder / "narrow"
    program.write_bytes(ELF32)
    program.chmod(0o755)
    return program

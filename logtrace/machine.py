"""Which machine this is, whatever it is called.

The machine id of systemd must not be shown to others, see machine-id(5). What is made of it here is
what ``systemd-id128 machine-id --app-specific`` gives for this program.
"""

from __future__ import annotations

import hmac
import re
from pathlib import Path
from typing import NamedTuple

from logtrace.errors import StoreError

_PROGRAM = bytes.fromhex("6f1c0b7e52a94c0d9b3e7d6a1f08c4e5")
_DIGITS = 8


class Machine(NamedTuple):
    """A machine.

    Parameters
    ----------
    id
        32 hexadecimal digits that are this machine's alone.
    """

    id: str

    @property
    def number(self) -> int:
        """The id as a number of 63 bits."""
        return int(self.id[:16], 16) >> 1

    @property
    def digits(self) -> str:
        """The first digits of the id, for a name."""
        return self.id[:_DIGITS]


def this_machine(path: Path = Path("/etc/machine-id")) -> Machine:
    """Tell which machine this is.

    Parameters
    ----------
    path
        Where systemd keeps the machine's id.

    Returns
    -------
    Machine
        The same after each boot, and on no other machine but a copy of this one.

    Raises
    ------
    StoreError
        If the machine has no id.
    """
    try:
        known = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if not re.fullmatch("[0-9a-f]{32}", known):
        raise StoreError(
            f"{path} has no id of this machine, by which the lab's store tells machines apart",
            "make one: systemd-machine-id-setup",
        )
    digest = bytearray(hmac.digest(bytes.fromhex(known), _PROGRAM, "sha256")[:16])
    digest[6] = digest[6] & 0x0F | 0x40  # an id is a UUID of version 4
    digest[8] = digest[8] & 0x3F | 0x80
    return Machine(digest.hex())

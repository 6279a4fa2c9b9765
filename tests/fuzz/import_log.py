"""Fuzz the way of a log's bytes to rows with atheris.

python tests/fuzz/import_log.py [FOLDER...] [-max_total_time=SECONDS ...]

What an input is, and what is checked of it: see `both_ways`.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["logtrace"]):
    from both_ways import CORPUS, check


def main() -> None:
    """Run the fuzzer; new inputs go to the first folder named, or nowhere."""
    atheris.Setup([*sys.argv, str(CORPUS)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

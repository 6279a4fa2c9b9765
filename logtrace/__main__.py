"""``python -m logtrace``."""

from logtrace.cli import main

main()

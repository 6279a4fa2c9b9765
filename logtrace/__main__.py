"""``python -m logtrace``."""

from logtrace.cli import main

if __name__ == "__main__":  # a process that imports logs beside this one reads it again
    main()

"""Kernel-log analysis and reports for labs that trace programs with kernel modules."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # looking the version up reads files, which most commands can do without
    if name == "__version__":
        from importlib.metadata import version

        return version("logtrace")
    raise AttributeError(f"module 'logtrace' has no attribute {name!r}")

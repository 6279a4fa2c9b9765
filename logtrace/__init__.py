"""Kernel-log analysis and reports for labs that trace programs with kernel modules."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logtrace.api import Log, load_runs, read_log, statistics
    from logtrace.errors import LogtraceError

    __version__: str

__all__ = ["Log", "LogtraceError", "__version__", "load_runs", "read_log", "statistics"]


# Most commands do without pandas, and without the files that tell the version.
def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("logtrace")
    if name == "LogtraceError":
        from logtrace import errors as module
    elif name in __all__:
        from logtrace import api as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'logtrace' has no attribute {name!r}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

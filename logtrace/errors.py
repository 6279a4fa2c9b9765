"""The errors that logtrace raises.

::

    LogtraceError
    ├── SourceError      a log can't be opened or read
    ├── DialectError     a file of dialects makes no sense
    ├── ConfigError      a file of the configuration makes no sense
    ├── StoreError       a store can't be opened, read or written
    │   └── ConflictError    another process wrote the same table at the same moment
    ├── ClusterError     a cluster can't be reached, or not be used
    ├── QueryError       a filter or a grouping makes no sense
    │   └── ExpectationError  a file of expectations can't be read or makes no sense
    ├── ReportError      a report can't be written
    ├── ServeError       a report can't be served
    ├── KernelModuleError  a module can't be built, loaded or unloaded
    ├── TraceError       a process can't be traced
    └── GuestError       a virtual machine can't be booted, hangs, or panics
"""


class LogtraceError(Exception):
    """Say what failed and, where there is one, what to do about it.

    Parameters
    ----------
    message
        What failed, with the path, line, option or sequence number it failed at.
    remedy
        What the user can do about it.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class SourceError(LogtraceError):
    """A log can't be opened or read."""


class DialectError(LogtraceError):
    """A file of dialects makes no sense."""


class ConfigError(LogtraceError):
    """A file of the configuration makes no sense."""


class StoreError(LogtraceError):
    """A store can't be opened, read or written."""


class ClusterError(LogtraceError):
    """A cluster can't be reached, or not be used."""


class ConflictError(StoreError):
    """Another process wrote the same table at the same moment; nothing was written."""


class QueryError(LogtraceError):
    """A filter or a grouping makes no sense."""


class ExpectationError(QueryError):
    """A file of expectations can't be read or makes no sense."""


class ReportError(LogtraceError):
    """A report can't be written."""


class ServeError(LogtraceError):
    """A report can't be served."""


class KernelModuleError(LogtraceError):
    """A kernel module can't be built, loaded or unloaded."""


class TraceError(LogtraceError):
    """A process can't be traced."""


class GuestError(LogtraceError):
    """A virtual machine can't be booted, hangs, or panics."""

"""Kernel-log analysis and reports for labs that trace programs with kernel modules."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("logtrace")

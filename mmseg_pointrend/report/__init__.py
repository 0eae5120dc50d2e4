"""A report of a test: pages to look at in a browser."""

from .hook import ReportHook

__all__ = ["ReportHook"]

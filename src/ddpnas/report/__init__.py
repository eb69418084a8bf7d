"""The report on a search: one page for people, and its numbers as CSV."""

from ddpnas.report.html import write_report

__all__ = ["write_report"]

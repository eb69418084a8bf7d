"""The report on a search: an HTML page for people, and its numbers as CSV.

Run folders go in. ``sections`` turn each run into figures, tables and sentences, as frozen data
of ``blocks``; ``page`` puts them in order, and ``html`` writes one page without scripts.
``watch`` serves the same page while a search goes on.
"""

from ddpnas.report.html import write_report

__all__ = ["write_report"]

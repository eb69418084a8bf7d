"""Benchmark tables of trained networks, and the experiment that compares strategies on them.

:func:`load_table` reads a table; ``ddpnas benchmark`` and :mod:`ddpnas.benchmarks.experiment` run
strategies on it with many seeds. Nothing here needs torch.
"""

from ddpnas.benchmarks.table import Record, Table
from ddpnas.benchmarks.tables import list_tables, load_table

__all__ = ["Record", "Table", "list_tables", "load_table"]

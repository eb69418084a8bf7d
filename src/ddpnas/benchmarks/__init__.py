"""Benchmark tables and the experiment that compares strategies on them. No torch."""

from ddpnas.benchmarks.table import Record, Table
from ddpnas.benchmarks.tables import list_tables, load_table

__all__ = ["Record", "Table", "list_tables", "load_table"]

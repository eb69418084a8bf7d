"""Benchmark tables and the experiment that compares strategies on them. No torch."""

from ddpnas.benchmarks.load import list_tables, load
from ddpnas.benchmarks.table import Record, Table

__all__ = ["Record", "Table", "list_tables", "load"]

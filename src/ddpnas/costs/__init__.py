"""What an architecture costs: counted from the network (multiply-adds, parameters)."""

from ddpnas.costs.counted import count_costs
from ddpnas.costs.summary import CostRange, cost_ranges

__all__ = ["CostRange", "cost_ranges", "count_costs"]

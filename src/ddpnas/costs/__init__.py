"""What an architecture costs: counted from the network (multiply-adds, parameters)."""

from ddpnas.costs.counted import count_costs

__all__ = ["count_costs"]

"""What an architecture costs: counted from the network, or measured on a device."""

from ddpnas.costs.counted import count_costs
from ddpnas.costs.network import count_network
from ddpnas.costs.summary import CostRange, cost_ranges

__all__ = ["CostRange", "cost_ranges", "count_costs", "count_network"]

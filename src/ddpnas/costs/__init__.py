"""What an architecture costs: counted from the network, or measured on a device."""

from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.latency import LatencyCheck, check_latency, measure_latency, require_same_network
from ddpnas.costs.network import count_network
from ddpnas.costs.peak import peak_limit
from ddpnas.costs.remote_latency import export_latency, import_latency, read_measurements
from ddpnas.generation.cost_ranges import CostRange, cost_ranges

__all__ = [
    "CostRange",
    "LatencyCheck",
    "LatencyConfig",
    "check_latency",
    "cost_ranges",
    "count_costs",
    "count_network",
    "export_latency",
    "import_latency",
    "measure_latency",
    "peak_limit",
    "read_measurements",
    "require_same_network",
]

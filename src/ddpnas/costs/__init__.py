"""What an architecture costs: counted from the network, or measured on a device.

In: a search space. Out: a :class:`CostTable` for each cost, a sum over the choices of an
architecture: exact for multiply-adds, parameters and bytes, predicted for milliseconds. Tables
are plain data and need no torch; names are imported on first use.

Example:
    >>> import ddpnas
    >>> space = ddpnas.create_space("toy")
    >>> macs = ddpnas.count_costs(space)["macs"]
    >>> macs.cost(space.decode([0, 0, 0, 0])) < macs.cost(space.decode([2, 2, 2, 2]))
    True
"""

from typing import TYPE_CHECKING

from ddpnas.utils.lazy import lazy_names

if TYPE_CHECKING:
    from ddpnas.costs.config import LatencyConfig
    from ddpnas.costs.count import count_costs
    from ddpnas.costs.latency import measure_latency
    from ddpnas.costs.latency_check import LatencyCheck, check_latency
    from ddpnas.costs.network import count_network
    from ddpnas.costs.peak import peak_limit
    from ddpnas.costs.remote_latency import export_latency, import_latency, read_measurements
    from ddpnas.costs.table import CostTable

__all__ = [
    "CostTable",
    "LatencyCheck",
    "LatencyConfig",
    "check_latency",
    "count_costs",
    "count_network",
    "export_latency",
    "import_latency",
    "measure_latency",
    "peak_limit",
    "read_measurements",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CostTable": "ddpnas.costs.table",
        "LatencyCheck": "ddpnas.costs.latency_check",
        "LatencyConfig": "ddpnas.costs.config",
        "check_latency": "ddpnas.costs.latency_check",
        "count_costs": "ddpnas.costs.count",
        "count_network": "ddpnas.costs.network",
        "export_latency": "ddpnas.costs.remote_latency",
        "import_latency": "ddpnas.costs.remote_latency",
        "measure_latency": "ddpnas.costs.latency",
        "peak_limit": "ddpnas.costs.peak",
        "read_measurements": "ddpnas.costs.remote_latency",
    },
)

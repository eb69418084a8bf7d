"""ddpnas: find a neural network for your data within your limits.

Neural architecture search by dynamic distribution pruning (DDPNAS, Zheng et al., IJCV 2023,
arXiv 1905.13543), and exact generation of networks within given limits.

The names below are what most programs need. Everything else is in the rooms, such as
``ddpnas.space.Decision`` or ``ddpnas.errors.SpaceError``. Names are imported on first use.
"""

from typing import TYPE_CHECKING

from ddpnas._version import __version__
from ddpnas.utils.lazy import lazy_names

if TYPE_CHECKING:
    from ddpnas import benchmarks, errors, testing
    from ddpnas.costs.count import count_costs
    from ddpnas.costs.latency import measure_latency
    from ddpnas.costs.network import count_network
    from ddpnas.costs.table import CostTable
    from ddpnas.data.data import Data, make_data
    from ddpnas.data.load import list_data, load_data
    from ddpnas.export.onnx import export_onnx
    from ddpnas.fitting.fit import fit
    from ddpnas.fitting.fitted import Fitted
    from ddpnas.generation.best import Generated, generate, top_k
    from ddpnas.generation.frontier import frontier
    from ddpnas.report.html import write_report
    from ddpnas.runs.rescore import rescore
    from ddpnas.runs.resume import resume
    from ddpnas.runs.search import SearchResult, search
    from ddpnas.shrinking.shrink import shrink
    from ddpnas.shrinking.shrinkable_space import shrinkable
    from ddpnas.space.decisions import Architecture, Rule
    from ddpnas.space.distribution import JointDistribution
    from ddpnas.space.replace import replaceable
    from ddpnas.space.search_space import SearchSpace
    from ddpnas.spaces.registry import create_space, list_spaces
    from ddpnas.strategies.registry import create_strategy, list_strategies
    from ddpnas.training.compare import compare
    from ddpnas.training.evaluate import evaluate
    from ddpnas.training.pretrained import open_network
    from ddpnas.training.recipes import Recipe
    from ddpnas.training.results import TrainResult
    from ddpnas.training.train import train
    from ddpnas.training.trained_folder import load
    from ddpnas.training.trained_model import TrainedModel

__all__ = [
    "Architecture",
    "CostTable",
    "Data",
    "Fitted",
    "Generated",
    "JointDistribution",
    "Recipe",
    "Rule",
    "SearchResult",
    "SearchSpace",
    "TrainResult",
    "TrainedModel",
    "__version__",
    "benchmarks",
    "compare",
    "count_costs",
    "count_network",
    "create_space",
    "create_strategy",
    "errors",
    "evaluate",
    "export_onnx",
    "fit",
    "frontier",
    "generate",
    "list_data",
    "list_spaces",
    "list_strategies",
    "load",
    "load_data",
    "make_data",
    "measure_latency",
    "open_network",
    "replaceable",
    "rescore",
    "resume",
    "search",
    "shrink",
    "shrinkable",
    "testing",
    "top_k",
    "train",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Architecture": "ddpnas.space.decisions",
        "CostTable": "ddpnas.costs.table",
        "Data": "ddpnas.data.data",
        "Fitted": "ddpnas.fitting.fitted",
        "Generated": "ddpnas.generation.best",
        "JointDistribution": "ddpnas.space.distribution",
        "Recipe": "ddpnas.training.recipes",
        "Rule": "ddpnas.space.decisions",
        "SearchResult": "ddpnas.runs.search",
        "SearchSpace": "ddpnas.space.search_space",
        "TrainResult": "ddpnas.training.results",
        "TrainedModel": "ddpnas.training.trained_model",
        "compare": "ddpnas.training.compare",
        "count_costs": "ddpnas.costs.count",
        "count_network": "ddpnas.costs.network",
        "create_space": "ddpnas.spaces.registry",
        "create_strategy": "ddpnas.strategies.registry",
        "evaluate": "ddpnas.training.evaluate",
        "export_onnx": "ddpnas.export.onnx",
        "fit": "ddpnas.fitting.fit",
        "frontier": "ddpnas.generation.frontier",
        "generate": "ddpnas.generation.best",
        "list_data": "ddpnas.data.load",
        "list_spaces": "ddpnas.spaces.registry",
        "list_strategies": "ddpnas.strategies.registry",
        "load": "ddpnas.training.trained_folder",
        "load_data": "ddpnas.data.load",
        "make_data": "ddpnas.data.data",
        "measure_latency": "ddpnas.costs.latency",
        "open_network": "ddpnas.training.pretrained",
        "replaceable": "ddpnas.space.replace",
        "rescore": "ddpnas.runs.rescore",
        "resume": "ddpnas.runs.resume",
        "search": "ddpnas.runs.search",
        "shrink": "ddpnas.shrinking.shrink",
        "shrinkable": "ddpnas.shrinking.shrinkable_space",
        "top_k": "ddpnas.generation.best",
        "train": "ddpnas.training.train",
        "write_report": "ddpnas.report.html",
    },
    rooms=(
        "benchmarks",
        "costs",
        "data",
        "errors",
        "evaluators",
        "export",
        "fitting",
        "generation",
        "relaxed",
        "report",
        "runs",
        "shrinking",
        "space",
        "spaces",
        "strategies",
        "testing",
        "training",
    ),
)

"""ddpnas: find a neural network for your data within your limits.

Neural architecture search by dynamic distribution pruning (DDPNAS, Zheng et al., IJCV 2023,
arXiv 1905.13543), and exact generation of networks within given limits.
"""

from ddpnas import benchmarks
from ddpnas._version import __version__
from ddpnas.costs import count_network, peak_limit
from ddpnas.costs.config import LatencyConfig
from ddpnas.costs.count import count_costs
from ddpnas.costs.latency import check_latency, measure_latency
from ddpnas.costs.table import CostTable
from ddpnas.data import DataConfig, list_data, load_data
from ddpnas.data.data import Data, make_data
from ddpnas.errors import (
    ArchitectureError,
    DataError,
    DdpnasError,
    DivergedError,
    ExportError,
    InfeasibleError,
    OptionError,
    RunError,
    SpaceError,
)
from ddpnas.evaluators import StandaloneConfig
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.export.int8 import quantise_onnx
from ddpnas.export.onnx import export_onnx
from ddpnas.export.onnx_runtime import OnnxFile
from ddpnas.export.torch_export import export_program
from ddpnas.generation.best import Generated, generate, sample_within, top_k
from ddpnas.generation.frontier import frontier
from ddpnas.report.html import write_report
from ddpnas.runs.loop import Progress
from ddpnas.runs.rescore import Rescored, rescore
from ddpnas.runs.resume import resume
from ddpnas.runs.search import SearchResult, search
from ddpnas.space.choose import Choose
from ddpnas.space.decisions import Architecture, Decision, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.replace import replaceable
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Supernet
from ddpnas.spaces.registry import create_space, list_spaces
from ddpnas.strategies import ChoiceEffect, choice_effects
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.elimination_bound import elimination_bound
from ddpnas.strategies.registry import create_strategy, list_strategies
from ddpnas.training import Scored, Trained, TrainResult, compare, evaluate, final_space
from ddpnas.training.recipes import RECIPES, Recipe, create_recipe
from ddpnas.training.train import train
from ddpnas.training.trained_folder import load, save_trained
from ddpnas.training.trained_model import TrainedModel

__all__ = [
    "RECIPES",
    "Architecture",
    "ArchitectureError",
    "ChoiceEffect",
    "Choose",
    "CostTable",
    "Data",
    "DataConfig",
    "DataError",
    "DdpnasError",
    "Decision",
    "DecisionSpace",
    "DivergedError",
    "ExportError",
    "Generated",
    "InfeasibleError",
    "JointDistribution",
    "LatencyConfig",
    "OnnxFile",
    "OptionError",
    "Progress",
    "Recipe",
    "Rescored",
    "Rule",
    "RunError",
    "Scored",
    "SearchResult",
    "SearchSpace",
    "SpaceError",
    "StandaloneConfig",
    "Strategy",
    "Supernet",
    "SupernetConfig",
    "TrainResult",
    "Trained",
    "TrainedModel",
    "__version__",
    "benchmarks",
    "check_latency",
    "choice_effects",
    "compare",
    "count_costs",
    "count_network",
    "create_recipe",
    "create_space",
    "create_strategy",
    "elimination_bound",
    "evaluate",
    "export_onnx",
    "export_program",
    "final_space",
    "frontier",
    "generate",
    "list_data",
    "list_spaces",
    "list_strategies",
    "load",
    "load_data",
    "make_data",
    "measure_latency",
    "peak_limit",
    "quantise_onnx",
    "replaceable",
    "rescore",
    "resume",
    "sample_within",
    "save_trained",
    "search",
    "top_k",
    "train",
    "write_report",
]

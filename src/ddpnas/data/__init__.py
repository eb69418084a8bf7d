"""Images (or any tensors) with labels: reading, splitting, batching and augmenting them."""

from ddpnas.data.data import Data, make_data
from ddpnas.data.load import DataConfig, as_data, list_data, load_data, load_labelled
from ddpnas.data.loader import Loader
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit

__all__ = [
    "Data",
    "DataConfig",
    "DatasetSplit",
    "Loader",
    "Preprocessing",
    "Split",
    "TensorSplit",
    "as_data",
    "list_data",
    "load_data",
    "load_labelled",
    "make_data",
]

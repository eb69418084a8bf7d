"""Images, or any tensors, with labels: reading, splitting, batching and augmenting them.

Folders, files, tensors and datasets go in (:func:`load_data`, :func:`make_data`). Out comes a
:class:`Data` with its splits, whose batches a :class:`Loader` puts on a device. A :class:`Sieve`
says which items an epoch reads. A :class:`Preprocessing` turns any image into an input of a
network.
"""

from ddpnas.data.data import Data, make_data
from ddpnas.data.load import DataConfig, as_data, list_data, load_data, load_labelled
from ddpnas.data.loader import Loader
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.data.sieve import Sieve
from ddpnas.data.sieves import SieveConfig, list_sieves
from ddpnas.data.splits import DatasetSplit, Split, TensorSplit

__all__ = [
    "Data",
    "DataConfig",
    "DatasetSplit",
    "Loader",
    "Preprocessing",
    "Sieve",
    "SieveConfig",
    "Split",
    "TensorSplit",
    "as_data",
    "list_data",
    "list_sieves",
    "load_data",
    "load_labelled",
    "make_data",
]

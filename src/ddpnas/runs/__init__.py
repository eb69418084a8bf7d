"""One search, from the first batch to the result, and the folder that it keeps.

:func:`search` asks a strategy for architectures, has an evaluator score them and writes each step
to a run folder. :func:`resume` continues an interrupted search and ends with the same result.
:class:`Run` reads such a folder: it reopens space and data, generates networks within the limits
of a :class:`GenerationRequest`, and scores candidates once more (:func:`rescore`).
"""

from ddpnas.runs._run_files import Stage
from ddpnas.runs.config import RunConfig
from ddpnas.runs.generation_request import GenerationRequest, GenerationResult, GenerationTask
from ddpnas.runs.loop import Progress
from ddpnas.runs.rescore import rescore
from ddpnas.runs.resume import resume
from ddpnas.runs.run import Run
from ddpnas.runs.search import SearchResult, search

__all__ = [
    "GenerationRequest",
    "GenerationResult",
    "GenerationTask",
    "Progress",
    "Run",
    "RunConfig",
    "SearchResult",
    "Stage",
    "rescore",
    "resume",
    "search",
]

"""One search, from the first batch to the result, and the folder that it keeps.

:func:`search` asks a strategy for architectures, has an evaluator score them and writes each step
to a run folder. :func:`resume` goes on with an interrupted one and ends with the same result.
:func:`rescore` scores the likeliest architectures once more, each as a whole.
"""

from ddpnas.runs.loop import Progress
from ddpnas.runs.rescore import rescore
from ddpnas.runs.resume import resume
from ddpnas.runs.search import SearchResult, search

__all__ = ["Progress", "SearchResult", "rescore", "resume", "search"]

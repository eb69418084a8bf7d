"""From images to a deployable network in the minutes given.

In: images, limits and minutes. Out: a :class:`Fitted`, and a folder with the plan, the run, the
trained network, the exported file and the report. A plan says how the time is divided; the race and
the final training are a search and a training like any other.
"""

from ddpnas.fitting.fit import fit, resume_fit
from ddpnas.fitting.fitted import Candidate, Fitted
from ddpnas.fitting.plan import FitPlan

__all__ = ["Candidate", "FitPlan", "Fitted", "fit", "resume_fit"]

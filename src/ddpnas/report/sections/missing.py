"""The section that answers: what does this report lack, and which commands add it?"""

from __future__ import annotations

from ddpnas.report.analysis import View
from ddpnas.report.blocks import Commands, Section
from ddpnas.report.commands import command, made_in_python, said_path, user_code_words
from ddpnas.runs.folder import PLAN

__all__ = ["missing_section"]


def missing_section(view: View) -> Section | None:
    """Return the commands that add what the report lacks; None if there are none.

    No command goes on with a search of a space or of images that are objects of Python.
    """
    run = view.run
    folder = said_path(run.path)
    own = user_code_words("space", run.space_name)
    compare = ("--random", "5", "--same-size", "5")
    of_fit = (run.path / PLAN).is_file()  # trained by its plan; `train` would do it in another way
    lines = []
    objects = made_in_python(run)
    trainable = not {"space", "data"} & {*objects}
    if not objects and (not run.finished or (of_fit and run.trained is None)):
        strategy = user_code_words("strategy", run.strategy_name)
        lines.append(command("resume", folder, *own, *strategy))
    if run.generated is None and "space" not in objects:
        lines.append(command("generate", folder, *own, "--limit", "macs=20M"))
    if trainable and run.trained is None and not of_fit:
        lines.append(command("train", folder, *own, *compare))
    elif trainable and run.trained is not None and not of_fit and len(run.trained.random) < 5:
        lines.append(command("train", folder, *own, *compare, "--overwrite"))
    if view.space is None and own:
        lines.append(command("report", folder, *own))
    if not lines:
        return None
    words = ("These commands add what this report lacks:",)
    return Section("missing", "What is missing", words, (Commands("In a shell", tuple(lines)),))

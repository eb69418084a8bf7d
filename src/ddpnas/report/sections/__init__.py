"""The sections of the page: one file each, whose docstring names the question that it answers."""

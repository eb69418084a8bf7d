"""A search, and the same one stopped and resumed."""

import pytest


def whole_and_resumed(run, tmp_path, stopped):
    """Return the results of a search, and of the same stopped after some epochs and resumed."""

    def stop(progress):
        if progress.done == stopped:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", on_progress=stop)
    return whole, run(tmp_path / "broken", resume=True)

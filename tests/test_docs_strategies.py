"""The code of docs/strategies.md runs, prints what it says, and its strategy keeps the contract."""

import re
import runpy
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "strategies.md"


def test_the_code_runs_and_the_strategy_keeps_the_contract(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
        named = re.match(r"# (\w+\.py)\n", code)
        file = named[1] if named else f"{number}.py"
        Path(file).write_text(code)
        made = runpy.run_path(file)
        said = re.findall(r"print\(.*\)  # (.*)", code)
        assert capsys.readouterr().out.splitlines() == said
        if "TestOneChange" in made:
            contract = made["TestOneChange"]()
            for name in [name for name in dir(contract) if name.startswith("test_")]:
                getattr(contract, name)()

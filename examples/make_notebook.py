"""Make own_images.ipynb of own_images.py: the same cells, run once, with what they print.

    python examples/make_notebook.py        # in an empty folder: the cells write into it

It needs `pip install nbformat`.
"""

import contextlib
import io
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent


def cells_of(script):
    """Return the (kind, source) of each cell of a script with `# %%` between them."""
    first, *rest = script.split("# %%")
    docstring = first.strip().strip('"').strip()
    title, text = docstring.split("\n", 1)
    cells = [("markdown", f"# {title.rstrip('.')}\n{text}")]
    for part in rest:
        head, body = part.split("\n", 1)
        if head.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip().split("\n")]
            cells.append(("markdown", "\n".join(lines)))
        else:
            cells.append(("code", body.strip()))
    return cells


def main():
    """Run the cells here and write the notebook beside the script."""
    import nbformat

    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    known = {"__name__": "__main__"}
    for number, (kind, source) in enumerate(cells_of((EXAMPLES / "own_images.py").read_text())):
        if kind == "markdown":
            cell = nbformat.v4.new_markdown_cell(source)
        else:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(source, f"cell {number}", "exec"), known)  # noqa: S102
            outputs = [nbformat.v4.new_output("stream", name="stdout", text=printed.getvalue())]
            cell = nbformat.v4.new_code_cell(source, outputs=outputs if printed.getvalue() else [])
        cell.id = f"cell-{number}"
        notebook.cells.append(cell)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
    nbformat.write(notebook, EXAMPLES / "own_images.ipynb")


if __name__ == "__main__":
    main()

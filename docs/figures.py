"""Draw the picture of the README from the raw figures in records/, and its badges.

python docs/figures.py

writes docs/found-cells.svg and docs/badges/. Each dot of the picture is the cell that one search on
CIFAR-10 images found, looked up in the NAS-Bench-201 table of trained cells; the search never reads
that table. The badges are files, so that neither the README nor the site asks another server.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
SEARCHES = DOCS.parent / "records" / "weight-sharing" / "searches.csv"

BADGES = {  # name -> left half, right half
    "license": ("license", "Apache-2.0"),
    "python": ("python", "3.11+"),
    "paper": ("paper", "IJCV 2023"),
}

ROWS = (  # label, and the method and experiment in the raw figures
    ("ddpnas", "15 minutes", "fair-stages", "900 s"),
    ("ddpnas", "10 minutes", "fair-stages", "600 s"),
    ("untrained scores only", "23 seconds", "prior", "no training"),
    ("random search, 5 epochs a cell", "10 minutes", "random-search", "600 s"),
    ("FairNAS", "10 minutes", "fair-one-shot", "600 s"),
    ("SPOS, without its evolution", "10 minutes", "spos", "600 s"),
)
BEST = 94.37  # of the table, see records/weight-sharing.md
LEAST, MOST = 88.5, 94.5  # ends of the axis, in percent
WIDTH, LEFT, RIGHT, TOP, STEP = 800, 240, 80, 62, 30
OURS, OTHERS, TEXT = "#2f81f7", "#d2691e", "#757d87"  # legible on white and on black


def main() -> None:
    """Write all files."""
    for name, text in files().items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


def files() -> dict[str, str]:
    """Return the text of each file by its path in docs/."""
    badges = {f"badges/{name}.svg": badge(*halves) for name, halves in BADGES.items()}
    return {"found-cells.svg": picture(), **badges}


def badge(left: str, right: str) -> str:
    """Return a badge as SVG text."""
    middle, width = 14 + 7 * len(left), 28 + 7 * (len(left) + len(right))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        'font-family="Verdana, DejaVu Sans, sans-serif" font-size="11" fill="#fff" '
        'text-anchor="middle">\n'
        f"<title>{left}: {right}</title>\n"
        f'<rect width="{width}" height="20" rx="3" fill="#2468b0"/>\n'
        f'<path d="M3 0H{middle}V20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#555"/>\n'
        f'<text x="{middle / 2}" y="14">{left}</text>\n'
        f'<text x="{(middle + width) / 2}" y="14">{right}</text>\n'
        "</svg>\n"
    )


def picture() -> str:
    """Return the picture as SVG text."""
    lines = [*_axis(), *_reference("ResNet's cell", _accuracies("resnet-cell", "no training")[0])]
    lines += _reference("best of all", BEST)
    for number, (label, seconds, method, experiment) in enumerate(ROWS):
        lines += _row(number, label, seconds, _accuracies(method, experiment))
    height = TOP + STEP * len(ROWS) + 42
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="13" '
        f'fill="{TEXT}" role="img">\n'
        "<title>Test accuracy of the cells that searches found, NAS-Bench-201, CIFAR-10</title>\n"
        + "\n".join(lines)
        + "\n</svg>\n"
    )


def _accuracies(method: str, experiment: str) -> list[float]:
    """Return the test accuracy of each seed of a method on NAS-Bench-201."""
    with SEARCHES.open(encoding="utf-8", newline="") as file:
        return [
            float(row["test_accuracy"])
            for row in csv.DictReader(file)
            if (row["table"], row["method"], row["experiment"])
            == ("nasbench201", method, experiment)
        ]


def _x(accuracy: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (accuracy - LEAST) / (MOST - LEAST)


def _axis() -> Iterator[str]:
    bottom = TOP + STEP * len(ROWS) + 4
    yield f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-opacity=".5"/>'
    for percent in range(89, 95):
        yield (
            f'<text x="{_x(percent):.1f}" y="{bottom + 18}" text-anchor="middle">{percent} %</text>'
        )
    yield f'<text x="10" y="{bottom + 18}">test accuracy of the cell found</text>'
    yield f'<text x="{WIDTH - 10}" y="{TOP - 6}" text-anchor="end">mean</text>'


def _reference(label: str, accuracy: float) -> Iterator[str]:
    """Yield a vertical line with its label above, to the left of it."""
    x, bottom = _x(accuracy), TOP + STEP * len(ROWS) + 4
    raised = 18 if accuracy < BEST else 0  # the two labels would overlap on one line
    yield (
        f'<path d="M{x:.1f} {TOP - 34 + raised}V{bottom}" stroke="{TEXT}" '
        'stroke-dasharray="3 4" stroke-opacity=".8"/>'
    )
    yield (
        f'<text x="{x - 6:.1f}" y="{TOP - 24 + raised}" text-anchor="end">'
        f"{label}: {accuracy:.2f} %</text>"
    )


def _row(number: int, label: str, seconds: str, accuracies: list[float]) -> Iterator[str]:
    """Yield a method's label, a dot for each seed, and a bar and a number for their mean."""
    y = TOP + STEP * number + 14
    color = OURS if label == "ddpnas" else OTHERS
    weight = ' font-weight="600"' if label == "ddpnas" else ""
    yield f'<text x="10" y="{y - 2}"{weight}>{label}</text>'
    yield f'<text x="10" y="{y + 11}" font-size="10.5">about {seconds} of one core</text>'
    for accuracy in accuracies:
        yield f'<circle cx="{_x(accuracy):.1f}" cy="{y}" r="5" fill="{color}" fill-opacity=".55"/>'
    mean = sum(accuracies) / len(accuracies)
    yield f'<path d="M{_x(mean):.1f} {y - 9}v18" stroke="{color}" stroke-width="3"/>'
    yield f'<text x="{WIDTH - 10}" y="{y + 5}" text-anchor="end"{weight}>{mean:.2f} %</text>'


if __name__ == "__main__":
    main()

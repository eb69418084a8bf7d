"""Draw the pictures of README and docs from the raw figures in records/, and the badges.

python docs/figures.py

writes docs/found-cells.svg, docs/gradient-methods.svg and docs/badges/. Each dot of a picture is
the cell that one search on CIFAR-10 images found, looked up in the NAS-Bench-201 table of trained
cells; the search never reads that table. The badges are files, so that neither the README nor the
site asks another server.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
SEARCHES = DOCS.parent / "records" / "weight-sharing" / "searches.csv"
MIXTURES = SEARCHES.with_name("mixtures.csv")

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
    ("SPOS, without its evolution", "10 minutes", "uniform-one-shot", "600 s"),
)
BEST = 94.37  # of the table, see records/weight-sharing.md
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
    return {
        "found-cells.svg": found_cells().svg(),
        "gradient-methods.svg": gradient_methods().svg(),
        **badges,
    }


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


@dataclass(frozen=True)
class Row:
    """A method of a dot plot.

    Attributes:
        label: Its name.
        below: What stands below the name, in small print.
        accuracies: A dot for each, in percent.
    """

    label: str
    below: str
    accuracies: Sequence[float]


@dataclass(frozen=True)
class DotPlot:
    """Test accuracies of what methods found, a line for each method, as SVG.

    Attributes:
        title: What is shown.
        rows: The methods.
        ticks: Numbers at the axis, in percent.
        ends: Ends of the axis, in percent.
    """

    title: str
    rows: Sequence[Row]
    ticks: Sequence[int]
    ends: tuple[float, float]

    def svg(self) -> str:
        """Return the text of the file."""
        [cell] = searched("resnet-cell", "no training")
        lines = [*self._axis(), *self._reference("ResNet's cell", cell)]
        lines += self._reference("best of all", BEST)
        for number, row in enumerate(self.rows):
            lines += self._row(number, row)
        height = self._bottom + 38
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" '
            f'font-size="13" fill="{TEXT}" role="img">\n'
            f"<title>{self.title}</title>\n" + "\n".join(lines) + "\n</svg>\n"
        )

    @property
    def _bottom(self) -> int:
        return TOP + STEP * len(self.rows) + 4

    def _x(self, accuracy: float) -> float:
        least, most = self.ends
        return LEFT + (WIDTH - LEFT - RIGHT) * (accuracy - least) / (most - least)

    def _axis(self) -> Iterator[str]:
        y = self._bottom
        yield f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-opacity=".5"/>'
        for percent in self.ticks:
            x = f"{self._x(percent):.1f}"
            yield f'<text x="{x}" y="{y + 18}" text-anchor="middle">{percent} %</text>'
        yield f'<text x="10" y="{y + 18}">test accuracy of the cell found</text>'
        yield f'<text x="{WIDTH - 10}" y="{TOP - 6}" text-anchor="end">mean</text>'

    def _reference(self, label: str, accuracy: float) -> Iterator[str]:
        """Yield a vertical line with its label above, to the left of it."""
        x = self._x(accuracy)
        raised = 18 if accuracy < BEST else 0  # the two labels would overlap on one line
        yield (
            f'<path d="M{x:.1f} {TOP - 34 + raised}V{self._bottom}" stroke="{TEXT}" '
            'stroke-dasharray="3 4" stroke-opacity=".8"/>'
        )
        yield (
            f'<text x="{x - 6:.1f}" y="{TOP - 24 + raised}" text-anchor="end">'
            f"{label}: {accuracy:.2f} %</text>"
        )

    def _row(self, number: int, row: Row) -> Iterator[str]:
        """Yield a method's label, a dot for each seed, and a bar and a number for their mean."""
        y = TOP + STEP * number + 14
        color = OURS if row.label == "ddpnas" else OTHERS
        weight = ' font-weight="600"' if row.label == "ddpnas" else ""
        yield f'<text x="10" y="{y - 2}"{weight}>{row.label}</text>'
        yield f'<text x="10" y="{y + 11}" font-size="10.5">{row.below}</text>'
        for accuracy in row.accuracies:
            x = f"{self._x(accuracy):.1f}"
            yield f'<circle cx="{x}" cy="{y}" r="5" fill="{color}" fill-opacity=".55"/>'
        mean = sum(row.accuracies) / len(row.accuracies)
        yield f'<path d="M{self._x(mean):.1f} {y - 9}v18" stroke="{color}" stroke-width="3"/>'
        yield f'<text x="{WIDTH - 10}" y="{y + 5}" text-anchor="end"{weight}>{mean:.2f} %</text>'


def found_cells() -> DotPlot:
    """Return the picture of the README."""
    rows = [
        Row(label, f"about {seconds} of one core", searched(method, experiment))
        for label, seconds, method, experiment in ROWS
    ]
    title = "Test accuracy of the cells that searches found, NAS-Bench-201, CIFAR-10"
    return DotPlot(title, rows, range(89, 95), (88.5, 94.5))


def gradient_methods() -> DotPlot:
    """Return the picture of the page on gradient-based methods: all in ten minutes of one core."""
    rows = [
        Row("ddpnas", "shared weights, trained fairly", searched("fair-stages", "600 s")),
        Row("random search", "5 epochs a cell", searched("random-search", "600 s")),
        Row("FairNAS", "best of random paths", searched("fair-one-shot", "600 s")),
    ]
    rows.append(Row("SPOS", "best of random paths", searched("uniform-one-shot", "600 s")))
    rows.append(Row("SPOS", "with its evolution", searched("spos", "600 s")))
    with MIXTURES.open(encoding="utf-8", newline="") as file:
        mixtures = [row for row in csv.DictReader(file) if row["seconds_given"] == "600.0"]
    labels = {
        "drnas": "DrNAS",
        "darts": "DARTS",
        "gdas": "GDAS",
        "pdarts": "P-DARTS",
        "pcdarts": "PC-DARTS",
        "proxyless": "ProxylessNAS",
        "snas": "SNAS",
        "dropnas": "DropNAS",
    }
    for method, label in labels.items():
        found = [row for row in mixtures if row["method"] == method]
        epochs = [int(row["epochs"]) for row in found]
        least, most = min(epochs), max(epochs)
        several = f"{least} to {most}" if most > least else str(most)
        below = f"{several} of {found[0]['published_epochs']} epochs"
        rows.append(Row(label, below, [float(row["test_accuracy"]) for row in found]))
    rows.sort(key=lambda row: -sum(row.accuracies) / len(row.accuracies))
    title = "Test accuracy of the cells found in 600 processor seconds, NAS-Bench-201, CIFAR-10"
    return DotPlot(title, rows, range(80, 95, 2), (79.0, 94.5))


def searched(method: str, experiment: str) -> list[float]:
    """Return the test accuracy of each seed of a method on NAS-Bench-201."""
    with SEARCHES.open(encoding="utf-8", newline="") as file:
        return [
            float(row["test_accuracy"])
            for row in csv.DictReader(file)
            if (row["table"], row["method"], row["experiment"])
            == ("nasbench201", method, experiment)
        ]


if __name__ == "__main__":
    main()

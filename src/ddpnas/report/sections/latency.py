"""The section that answers: how far can the predicted latency be trusted?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddpnas.costs.latency import CheckForm
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Block, Column, DataTable, Fact, Facts, Figure, Legend, Section
from ddpnas.report.svg import Axis, Chart
from ddpnas.utils.read import checked_content

__all__ = ["latency_section"]


def latency_section(view: View) -> Section | None:
    """Return predicted and measured milliseconds for every table that was checked."""
    blocks: list[Block] = []
    words: list[str] = []
    for table in view.tables:
        if table.name != "latency_ms" or "check" not in table.about:
            continue
        try:
            check: CheckForm = checked_content(
                table.about["check"], CheckForm, "check in the latency table", DataError
            )
        except DataError:  # a user's own table may say something else there
            continue
        if check["networks"]:
            words.append(_words(table, check))
            blocks.append(_figure(view, table, check))
    found = view.latency_check
    if found is not None:
        blocks.append(
            Facts(
                (
                    Fact("predicted", f"{found['predicted_ms']:.4g} ms", found["predicted_ms"]),
                    Fact("measured", f"{found['measured_ms']:.4g} ms", found["measured_ms"]),
                    Fact("error", f"{found['error_percent']:+.1f} %", found["error_percent"]),
                    Fact("architecture", str(found["text"])),
                )
            )
        )
    if not blocks:
        return None
    return Section("latency", "Latency, predicted and measured", tuple(words), tuple(blocks))


def _words(table: CostTable, check: Mapping[str, Any]) -> str:
    about = table.about
    threads = about.get("threads")
    return (
        f"Measured with {about.get('backend')} on {about.get('machine')}, device "
        f"{about.get('device')}, batch size {about.get('batch')}, {threads} "
        f"thread{'' if threads == 1 else 's'}. Each of {check['architectures']} random networks "
        f"is predicted by a table fitted to the others. The mean error is "
        f"{check['mape_percent']:.1f} %, the largest {check['worst_percent']:.1f} %."
    )


def _figure(view: View, table: CostTable, check: Mapping[str, Any]) -> Figure:
    networks = [
        (n["predicted_ms"], n["median_ms"], n["iqr_ms"], n["architecture"])
        for n in check["networks"]
    ]
    values = [v for predicted, measured, _, _ in networks for v in (predicted, measured)]
    chart = Chart(
        "Measured against predicted latency",
        f"{len(networks)} random networks; on the line, the prediction is exact.",
        Axis("predicted (ms)", min(values), max(values), pad=0.05, most=5),
        Axis("", min(values), max(values), pad=0.05),
        left=50,
    )
    low, high = min(values), max(values)
    chart.line([(low, low), (high, high)], 6, dashed=True)
    for predicted, measured, iqr, architecture in networks:
        title = f"predicted {predicted:.4g} ms, measured {measured:.4g} ms (IQR {iqr:.2g})"
        chart.dot(predicted, measured, 1, f"{title}, {architecture}")
    legend = [Legend(1, "circle", "random network"), Legend(6, "dashed", "equal")]
    found = view.latency_check
    if found is not None:
        title = f"chosen: predicted {found['predicted_ms']:.4g} ms, measured "
        title += f"{found['measured_ms']:.4g} ms"
        chart.dot(found["predicted_ms"], found["measured_ms"], 3, title, mark="diamond", size=6)
        legend.append(Legend(3, "diamond", "chosen"))
    backend = str(table.about.get("backend", ""))
    rows = DataTable(
        "latency",
        "Predicted and measured latency",
        (
            Column("backend"),
            Column("predicted", "number", "ms"),
            Column("measured", "number", "ms"),
            Column("interquartile range", "number", "ms"),
            Column("architecture"),
        ),
        tuple((backend, *network) for network in networks),
        folded=True,
    )
    caption = "Height: measured milliseconds of whole networks that the prediction did not use."
    return Figure(chart.text(), caption, tuple(legend), rows)

"""The pictures: the 2-D embeddings side by side, and every loss over time."""
from typing import NamedTuple

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .output import whole

COLORS = [matplotlib.colors.to_hex(color) for color in matplotlib.colormaps["tab10"].colors]


class Panel(NamedTuple):
    """One of the embeddings."""

    title: str
    measures: dict
    embedding: np.ndarray
    label: np.ndarray
    centers: np.ndarray


def draw(path, panels, heading):
    """Draw embeddings of test images, coloured by digit, with the centers marked, into a PNG file.

    Args:
        path: of the file.
        panels: a `Panel` for each model.
        heading: what stands above all of them.
    """
    figure = Figure(figsize=(6.2 * len(panels) + 1.2, 6.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        _draw_panel(axes, panel)
    handles = [Line2D([], [], linestyle="", marker="o", color=color, label=str(digit))
               for digit, color in enumerate(COLORS)]
    handles.append(Line2D([], [], linestyle="", marker="o", markersize=11, markerfacecolor="white",
                          markeredgecolor="black", label="center"))
    figure.legend(handles=handles, loc="outside right center", title="digit", frameon=False)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_panel(axes, panel):
    size = float(np.clip(40000 / len(panel.label), 3, 20))
    order = np.random.RandomState(0).permutation(len(panel.label))  # no digit hides all others
    axes.scatter(*panel.embedding[order].T, s=size, linewidths=0, alpha=0.6,
                 c=[COLORS[int(digit)] for digit in panel.label[order]])
    for digit, center in enumerate(panel.centers):
        axes.plot(*center, marker="o", markersize=13, markerfacecolor="white", markeredgecolor=COLORS[digit],
                  markeredgewidth=2)
        axes.annotate(str(digit), center, ha="center", va="center_baseline", fontsize=9, fontweight="bold")
    ratio = panel.measures["distance_ratio"]
    axes.set_title("{}\ntest accuracy {:.2%}, nearest center {:.2%}, distance ratio {}".format(
        panel.title, panel.measures["test_accuracy"], panel.measures["nearest_center_accuracy"],
        "-" if ratio is None else "{:.3f}".format(ratio)), fontsize=11)
    axes.set_xlabel("embedding, first number")
    axes.set_ylabel("embedding, second number")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def draw_losses(path, records, models):
    """Draw every loss and the accuracy of each epoch into a PNG file: a panel each, in it a line per model and split.

    Args:
        path: of the file.
        records: those of ``metrics.jsonl``.
        models: titles of the models by name.
    """
    records = [record for record in records if not record["partial"] and record["model"] in models]
    names = [name for name in ("softmax_loss", "center_loss", "total_loss", "accuracy")
             if any(record.get(name) is not None for record in records)]
    if not names:
        return
    figure = Figure(figsize=(4.6 * len(names) + 0.4, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("after each epoch, per image; the accuracy is a share of the images")
    handles = {}
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for number, (model, title) in enumerate(models.items()):
            for split, style in (("train", "-"), ("validation", "--")):
                points = [(record["epoch"], record[name]) for record in records if record["model"] == model and
                          record["split"] == split and record.get(name) is not None]
                if points:
                    label = "{}, {}".format(title, "training" if split == "train" else "test")
                    handles[label], = axes.plot(*zip(*points), style, color=COLORS[number], marker="o", markersize=3)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if name != "accuracy":
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.25, which="both")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")

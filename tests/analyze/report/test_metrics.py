"""Catalog of metrics: complete, and consistent with the measures, figures, tables and documentation."""

import re
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

from analyze.measures import MEASURES
from analyze.report.figures.curves import ANALYSIS_FIGURES, EARLY_INVERTER_FIGURES, TRAINING_FIGURE
from analyze.report.metrics import ANALYSIS, METRICS, TRAINING, find_metric, metrics_table
from analyze.report.paper_tables import LAYOUTS
from analyze.report.wandb_dashboard import SECTIONS, CurvePanel

GROUPS = [
    *((figure.name, tuple(figure.curves)) for figure in (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES, TRAINING_FIGURE)),
    *((panel.title, panel.keys) for panels in SECTIONS.values() for panel in panels if isinstance(panel, CurvePanel)),
]


def test_every_number_of_every_measure_has_one_entry():
    results = {measure.name: get_type_hints(measure.function)["return"] for measure in MEASURES}
    keys = [
        f"{name}/{field.name}"
        for name, result in results.items()
        if is_dataclass(result)
        for field in fields(result)
        if field.type in (int, float, float | None)
    ]
    assert sorted(keys) == sorted(metric.key for metric in ANALYSIS)
    assert len(METRICS) == len(ANALYSIS) + len(TRAINING)


def test_labels_of_a_measure_are_unique():
    labels = [(metric.key.partition("/")[0], metric.label) for metric in ANALYSIS]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(("name", "keys"), GROUPS)
def test_metrics_drawn_together_share_an_axis(name, keys):
    assert len({(METRICS[key].quantity.name, METRICS[key].quantity.unit) for key in keys}) == 1


def test_table_columns_have_entries():
    assert all(key in METRICS for layout in LAYOUTS for key in layout.metrics)


def test_fractions_are_displayed_in_percent():
    metric = METRICS["noise_mapping/image_to_noise"]
    assert (metric.quantity.scale, metric.quantity.axis, metric.header) == (
        100,
        "correctly assigned (%)",
        "image → noise (%)",
    )
    assert metric.quantity.stored_axis == "correctly assigned (fraction)"


def test_measure_without_an_entry_is_labeled_by_its_value():
    metric = find_metric("brightness/mean")
    assert (metric.label, metric.quantity.axis, metric.quantity.scale) == ("mean", "value", 1)


@pytest.mark.parametrize("metrics", [ANALYSIS, TRAINING])
def test_markdown_table_names_every_metric(metrics):
    lines = metrics_table(metrics).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert all(any(f"`{metric.key}`" in line and metric.label in line for line in lines) for metric in metrics)

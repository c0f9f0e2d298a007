"""The pages about webhooks and metrics say what the code has."""

from __future__ import annotations

import re

from flow_manager.core.document import WebhookDocument
from flow_manager.engine.dispatcher import MOST_AT_ONCE, MOST_TO_ONE, MOST_TRIES
from flow_manager.engine.signing import signed_headers
from flow_manager.observers.metrics import Metrics
from flow_manager.ports.webhooks import SEND_SECONDS
from tests.acceptance.test_docs import Page, rows_of
from tests.support.service import ROOT


def test_every_metric_has_its_line_with_its_type_and_labels() -> None:
    metrics = Metrics()
    metrics.attempted("http", "success", 1.0)
    written = [(row[0], row[1], row[2].replace("`", "")) for row in rows_of(Page("metrics.md").intro)]

    assert [(name, kind) for name, kind, _ in written] == [
        (family.name + ("_total" if family.type == "counter" else ""), family.type)
        for family in metrics.collect()
    ]
    labels = {name.removesuffix("_total"): labels for name, _, labels in written}
    for family in metrics.collect():
        for sample in family.samples:
            assert ", ".join(name for name in sample.labels if name != "le") == labels[family.name]


def test_what_others_alarm_on_exists() -> None:
    text = (ROOT / "docs" / "howto" / "watch-with-prometheus.md").read_text(encoding="utf-8")
    known = {row[0] for row in rows_of(Page("metrics.md").intro)}

    named = {name.removesuffix("_bucket") for name in re.findall(r"flow_manager_[a-z_]+", text)}
    assert named <= known | {name.removesuffix("_total") for name in known}


def test_every_field_of_a_webhook_has_its_line() -> None:
    rows = rows_of(Page("flow-document.md").sections["Webhooks"])

    assert [row[0] for row in rows] == list(WebhookDocument.model_fields)
    assert [row[0] for row in rows if row[2] == "required"] == ["url"]


def test_what_is_told_of_deliveries_is_so() -> None:
    text = Page("http-api.md").sections["Deliveries"]
    headers = signed_headers("id", 0, b"{}", "secret")

    assert [row[0].lower() for row in rows_of(text)] == [name for name in headers if name != "content-type"]
    assert f"After {MOST_TRIES} tries" in text
    assert f"gets {MOST_TO_ONE} deliveries at once, all together get {MOST_AT_ONCE}" in text
    assert f"none within {SEND_SECONDS:.0f} s" in text

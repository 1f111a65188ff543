"""docs/monitoring.md and docs/grafana.json say what the server shows: every metric, and only such."""

import json
import re

import pytest
import yaml
from promtool import check_queries, promtool
from running import REPO

from offgrid.api.metrics import FAMILIES

MANUAL = (REPO / "docs" / "monitoring.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((REPO / "docs" / "grafana.json").read_text(encoding="utf-8"))
# A name as it stands in queries → its family. Of a histogram, only the three series exist.
SERIES = {
    family.name + suffix: family
    for family in FAMILIES
    for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
}
NAME = re.compile(r"\b(?:offgrid|process)_\w+")
SELECTED = re.compile(r"\b((?:offgrid|process)_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|without|ignoring) ?\(([^)]*)\)")
GIVEN_BY_PROMETHEUS = {"job", "instance", "le"}


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def manual_queries() -> list[str]:
    rows = re.search(r"\| question \| query \|\n\|---\|---\|\n((?:\|.*\n)+)", MANUAL)[1].splitlines()
    return [row.rpartition(" | `")[2].removesuffix("` |").replace("\\|", "|") for row in rows]


def as_promql(query: str) -> str:
    """With what Grafana puts in for its variables."""
    return query.replace("$__rate_interval", "5m").replace("$job", "offgrid").replace("$model", ".*")


def test_the_manual_lists_every_metric_as_the_server_declares_it():
    rows = MANUAL.split("| metric | type | labels | meaning |\n|---|---|---|---|\n")[1].splitlines()
    listed = {}
    for row in rows:
        name, kind, labels, meaning = (cell.strip() for cell in row.strip("|").split("|"))
        listed[name.strip("`")] = (kind, tuple(re.findall(r"`(\w+)`", labels)))
        assert meaning
    assert listed == {family.name: (family.kind, family.labels) for family in FAMILIES}


def test_no_metric_is_declared_twice():
    names = [family.name for family in FAMILIES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("query", [*dashboard_queries(), *manual_queries()])
def test_a_query_names_series_and_labels_that_exist(query):
    names = NAME.findall(query)
    assert names
    assert set(names) <= SERIES.keys()
    for name, selector in SELECTED.findall(query):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selector))
        assert asked <= {*SERIES[name].labels, *GIVEN_BY_PROMETHEUS}
    labels = {label for name in names for label in SERIES[name].labels}
    for grouping in GROUPED.findall(query):
        assert {label.strip() for label in grouping.split(",")} <= {*labels, *GIVEN_BY_PROMETHEUS}


def test_the_queries_are_promql(tmp_path):
    assert check_queries([as_promql(query) for query in (*dashboard_queries(), *manual_queries())], tmp_path) == ""
    assert "parse error" in check_queries(["rate(offgrid_requests_total[5m]"], tmp_path)


def test_the_variables_of_the_dashboard_ask_for_series_that_exist():
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            assert label in {*SERIES[name].labels, *GIVEN_BY_PROMETHEUS}


def test_the_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_scrape_example_is_one_that_prometheus_takes(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)[1]
    assert yaml.safe_load(example)["scrape_configs"][0]["job_name"] == "offgrid"
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    assert promtool("check", "config", str(file)) == ""

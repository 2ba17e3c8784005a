"""The JSON that Grafana reads, made from `boards`: `python -m deploy.observe.dashboards` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from deploy.observe.boards.board import Board, Panel
from deploy.observe.boards.capacity import CAPACITY
from deploy.observe.boards.delivery import DELIVERY
from deploy.observe.boards.edge import EDGE
from deploy.observe.boards.nats import NATS
from deploy.observe.boards.overview import OVERVIEW
from deploy.observe.boards.sessions import SESSIONS

BOARDS: Final = (OVERVIEW, EDGE, DELIVERY, SESSIONS, CAPACITY, NATS)

FOLDER: Final = Path(__file__).with_name("grafana") / "dashboards"

_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}  # as datasources.yml names it
_WIDTH: Final = 24  # of Grafana's grid
_CURVES_IN_A_ROW: Final = 3
_CURVE_HEIGHT: Final = 8
_STAT_HEIGHT: Final = 4


def grafana(board: Board) -> dict[str, Any]:
    """The dashboard in Grafana's schema: numbers in the first row, then curves, three in a row."""
    stats = [panel for panel in board.panels if panel.stat]
    curves = [panel for panel in board.panels if not panel.stat]
    top = _STAT_HEIGHT if stats else 0
    placed = [
        *((panel, _place(index, len(stats), _STAT_HEIGHT, 0)) for index, panel in enumerate(stats)),
        *((panel, _place(index, _CURVES_IN_A_ROW, _CURVE_HEIGHT, top)) for index, panel in enumerate(curves)),
    ]
    return {
        "uid": f"fairlead-{board.name}",
        "title": board.title,
        "tags": ["fairlead"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "Fairlead", "tags": ["fairlead"], "asDropdown": True}],
        "templating": {"list": [_edges()] if board.by_edge else []},
        "panels": [_panel(number, panel, place) for number, (panel, place) in enumerate(placed, 1)],
    }


def _place(index: int, in_a_row: int, height: int, top: int) -> dict[str, int]:
    row, column = divmod(index, in_a_row)
    width = _WIDTH // in_a_row
    return {"x": column * width, "y": top + row * height, "w": width, "h": height}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    curves = {"drawStyle": "line", "fillOpacity": 10, "showPoints": "never"}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.note,
        "type": "stat" if panel.stat else "timeseries",
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": {} if panel.stat else curves},
            "overrides": [],
        },
        "options": {} if panel.stat else {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.replace("$w", "$__rate_interval"),
                "legendFormat": legend or panel.title,
                "exemplar": "histogram_quantile" in query,
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _edges() -> dict[str, Any]:
    """The reader's choice of edges."""
    return {
        "name": "edge",
        "label": "edge",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(fairlead_edge_ready, instance)", "refId": "edges"},
        "refresh": 2,  # whenever the time range changes, as edges come and go
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def render(board: Board) -> str:
    """The file of one dashboard."""
    return json.dumps(grafana(board), indent=1) + "\n"


if __name__ == "__main__":
    for one in BOARDS:
        (FOLDER / f"{one.name}.json").write_text(render(one))
        print(f"wrote {one.name}.json")

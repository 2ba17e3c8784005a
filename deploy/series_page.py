"""docs/metrics.md, from the catalogues of all services: `python -m deploy.series_page` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.chassis.metrics.process import PROCESS_SERIES
from services.chassis.metrics.series import Catalog, Series
from services.edge.instruments.catalog import EDGE_SERIES
from services.metrics.catalog import CLUSTER_SERIES
from services.metrics.plan_catalog import PLAN_SERIES
from services.metrics.store import STORE_SERIES
from services.sessions.catalog import SESSIONS_SERIES

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

CATALOGS: Final[dict[str, Catalog]] = {
    "Every process": PROCESS_SERIES,
    "Edge": EDGE_SERIES,
    "Sessions service": SESSIONS_SERIES,
    "Metrics service: the whole cluster": CLUSTER_SERIES,
    "Metrics service: JetStream": STORE_SERIES,
    "Metrics service: history, capacity, forecast": PLAN_SERIES,
}
"""All series, by the heading under which docs/metrics.md has them."""

_HEAD: Final = """\
# Metrics

Every process serves its own series at `/metrics` of its own port; the metrics service adds figures of the cluster.
This page is made from the catalogues in the code: `.venv/bin/python -m deploy.series_page` writes it.

- Counters count from the start of the process; Prometheus's `rate` and `increase` handle the restart.
- A histogram `X` has the series `X_bucket{le}`, `X_count` and `X_sum`. They are classic histograms: prometheus-client
  has no native ones, and with bounds chosen for each kind of time a quantile is right to within a bucket.
- Labels come from bounded sets. No label has the name of a channel, a user or a client. The times of the 101st
  namespace and of those after it share the label `(other)`.
- Series whose labels are known beforehand (causes, the first 20 namespaces, the usual clients, commands and methods
  with the codes 0, 100 and 111) are 0 from the start, so that the first failures are an increase too. Closes, limits
  and other codes appear with their first event.
- prometheus-client's own `python_info` and `python_gc_...` are served as well.
- Prometheus gets OpenMetrics if it asks for it: exemplars then name the trace of one observation.
"""


def shown_name(series: Series) -> str:
    """The name as Prometheus shows it, with its labels."""
    name = series.name + "_total" if series.kind == "counter" else series.name
    return f"{name}{{{','.join(series.labels)}}}" if series.labels else name


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for title, series in CATALOGS.items():
        parts.append(f"\n## {title}\n\n| series | kind | unit | meaning |\n|---|---|---|---|\n")
        parts += [f"| `{shown_name(one)}` | {one.kind} | {one.unit} | {one.meaning} |\n" for one in series.values()]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.name}")

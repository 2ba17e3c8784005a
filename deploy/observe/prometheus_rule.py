"""The rules in the form of the Prometheus operator: `python -m deploy.observe.prometheus_rule` writes the manifest."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Final

RULES: Final = Path(__file__).with_name("rules")
MANIFEST: Final = Path(__file__).parents[1] / "kubernetes/rules.yaml"

_HEAD: Final = """\
# For a cluster with the Prometheus operator: the alerts and service levels of deploy/observe/rules.
# Made by `python -m deploy.observe.prometheus_rule`: change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fairlead
  namespace: fairlead
  labels: {app.kubernetes.io/part-of: fairlead}
spec:
  groups:
"""


def render() -> str:
    """The manifest, with the unchanged groups of all files."""
    return _HEAD + "".join(indent(_groups(path.read_text()), "  ") for path in sorted(RULES.glob("*.yml")))


def _groups(text: str) -> str:
    """The part of a file below `groups:`."""
    return text.partition("\ngroups:\n")[2]


if __name__ == "__main__":
    MANIFEST.write_text(render())

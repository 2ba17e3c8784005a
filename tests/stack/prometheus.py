"""What a running Prometheus and Alertmanager answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Prometheus:
    """One Prometheus and the Alertmanager beside it, by their ports on 127.0.0.1."""

    port: int
    alertmanager_port: int

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression now, each with its labels. Raises AssertionError for one that is refused."""
        answer = self._get(self.port, "/api/v1/query", query=expr)
        assert answer["status"] == "success", (expr, answer)
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found

    def up(self) -> dict[str, float]:
        """Name of each process that is to be scraped -> 1 if it answered."""
        return {one["metric"]["instance"]: float(one["value"][1]) for one in self.query("up")}

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get(self.port, "/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def sent(self) -> list[tuple[str, str]]:
        """(name, instance) of the alerts that Alertmanager holds now."""
        alerts = self._get(self.alertmanager_port, "/api/v2/alerts")
        return sorted((one["labels"]["alertname"], one["labels"].get("instance", "")) for one in alerts)

    @staticmethod
    def _get(port: int, path: str, **parameters: str) -> Any:
        return httpx.get(f"http://127.0.0.1:{port}{path}", params=parameters, verify=False, trust_env=False).json()

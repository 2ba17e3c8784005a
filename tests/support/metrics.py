"""The metrics of an edge."""

from __future__ import annotations

from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess


async def series(edge: ServiceProcess, name: str) -> float:
    """The value of a series; labels are part of the name, and one that was never counted is 0."""
    async with http_client() as http:
        lines = (await http.get(f"{edge.url}/metrics")).text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


async def metric(edge: ServiceProcess, name: str) -> float:
    """The value of `fairlead_edge_<name>`."""
    return await series(edge, f"fairlead_edge_{name}")


async def stands_at(edge: ServiceProcess, name: str, value: float) -> bool:
    return await metric(edge, name) == value


async def reaches(edge: ServiceProcess, name: str, least: float) -> bool:
    return await metric(edge, name) >= least

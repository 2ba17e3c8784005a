"""The metrics of an edge."""

from __future__ import annotations

from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess


async def series(edge: ServiceProcess, name: str) -> float:
    """The value of a series, 0 if it was never counted. A name without labels is the sum over all of them."""
    async with http_client() as http:
        lines = (await http.get(f"{edge.url}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def metric(edge: ServiceProcess, name: str) -> float:
    """The value of `fairlead_edge_<name>`."""
    return await series(edge, f"fairlead_edge_{name}")


async def stands_at(edge: ServiceProcess, name: str, value: float) -> bool:
    return await metric(edge, name) == value


async def reaches(edge: ServiceProcess, name: str, least: float) -> bool:
    return await metric(edge, name) >= least

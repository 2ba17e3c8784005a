"""The metrics of an edge."""

from __future__ import annotations

import httpx

from tests.support.processes import ServiceProcess


async def metric(edge: ServiceProcess, name: str) -> float:
    """The value of `fairlead_edge_<name>`; labels are part of the name, and one that was never counted is 0."""
    async with httpx.AsyncClient(verify=False) as http:  # no TLS here, and loading its certificates takes its time
        lines = (await http.get(f"{edge.url}/metrics")).text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"fairlead_edge_{name} ")), 0.0)


async def stands_at(edge: ServiceProcess, name: str, value: float) -> bool:
    return await metric(edge, name) == value


async def reaches(edge: ServiceProcess, name: str, least: float) -> bool:
    return await metric(edge, name) >= least

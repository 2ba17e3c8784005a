"""Causes at the other processes, and at what each process uses: descriptors, memory, certificates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.alerts.cause import Cause, frozen, killed, nothing
from tests.alerts.load import Crowd
from tests.alerts.stage import Stage

SOFT_LIMIT_BYTES, HARD_LIMIT_BYTES = 64_000_000, 80_000_000
"""An edge of a stage takes 48 MB before anybody comes."""


async def _take_descriptors(stage: Stage) -> None:
    stage.limit_descriptors("edge-1", int(stage.checkout.process("edge-1").num_fds() * 1.2))


async def _give_descriptors(stage: Stage) -> None:
    stage.limit_descriptors("edge-1", None)


async def _come_until(stage: Stage, series: str, above: float) -> None:
    """Clients come to the first edge until its series says that it is enough, or it takes no more, and stay."""
    crowd = Crowd()
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            while await _read(http, stage, series) <= above:
                try:
                    await crowd.come(stage, edge=1, count=20, channels=tuple(f"live:{n}" for n in range(20)))
                except AssertionError:
                    await asyncio.sleep(1)
        await asyncio.Event().wait()
    finally:
        crowd.leave()


async def _read(http: httpx.AsyncClient, stage: Stage, series: str) -> float:
    page = (await http.get(f"http://127.0.0.1:{stage.edge_port(1)}/metrics")).text
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(series))


async def _pass_the_soft_limit(stage: Stage) -> None:
    await _come_until(stage, "fairlead_edge_memory_used_bytes", SOFT_LIMIT_BYTES * 1.03)


async def _pass_the_hard_limit(stage: Stage) -> None:
    await _come_until(stage, "fairlead_edge_shed_total", 0)


def certify(folder: Path, days: int) -> str:
    """Makes a certificate that lasts so long. Returns the part of Traefik's routes that has it served."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead.example")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=days))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("fairlead.example")]), critical=False)
    folder.mkdir(exist_ok=True)
    public, private = (folder / f"{now:%H%M%S}.{kind}" for kind in ("crt", "key"))
    public.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return f'\ntls: {{ certificates: [ {{ certFile: "{public}", keyFile: "{private}" }} ] }}\n'


async def _serve_another_certificate(stage: Stage, days: int) -> None:
    routes = stage.checkout.folders.run / "routes.yaml"
    text = routes.read_text().partition("\ntls:")[0]
    routes.write_text(text + certify(stage.checkout.root / "certificates", days))


async def _serve_an_old_one(stage: Stage) -> None:
    """Traefik is restarted with it: until then it shows the one from before as well."""
    await _serve_another_certificate(stage, 10)
    await stage.kill("traefik")


async def _renew(stage: Stage) -> None:
    await _serve_another_certificate(stage, 90)


PROCESSES = (
    frozen("traefik", "Traefik hangs", "TraefikDown", besides=("ErrorBudgetBurnsFast (publish)",)),
    Cause(
        "the certificate that Traefik serves lasts 10 days more",
        ("CertificateExpires",),
        _serve_an_old_one,
        _renew,
        besides=("TraefikDown",),
    ),
    frozen("sessions", "the sessions service hangs", "ProcessDown"),
    killed("metrics", 3, "the metrics service is killed three times", "ProcessRestarts"),
    Cause("few descriptors are left", ("DescriptorsNearlyUsed",), _take_descriptors, _give_descriptors),
)

MEMORY = (
    Cause(
        "clients take more than the soft limit of memory (64 MB here)",
        ("MemoryHigh",),
        _pass_the_soft_limit,
        nothing,
        besides=("EdgeNotReady",),
    ),
    Cause(
        "clients take more than the hard limit of memory (80 MB here)",
        ("ClientsShed",),
        _pass_the_hard_limit,
        nothing,
        besides=("MemoryHigh", "EdgeNotReady"),
    ),
)

"""`python -m deploy.traefik.tls`: whether Traefik can serve `tls.crt` with the key `tls.key` of a folder.

Traefik reports a mistake too, but then runs and fails every TLS handshake. So the keeper checks before it starts
Traefik, and an operator can check a renewed certificate before Traefik reads it.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from pathlib import Path
from typing import Final

_CERTIFICATE: Final = "tls.crt"
_KEY: Final = "tls.key"


class CertificateUnusable(Exception):
    """The text says which file, why, and what to do."""


def check(folder: Path) -> None:
    """Raises `CertificateUnusable`."""
    certificate, key = folder / _CERTIFICATE, folder / _KEY
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            reason = f"{path}: {error.strerror}; user {os.getuid()} must be able to read it"
            raise CertificateUnusable(reason) from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise CertificateUnusable(
            f"{key} is not the key of {certificate}, or one of them is not PEM, or the key has a password: {error}"
        ) from None


def main() -> int:
    """Exits with 0 if Traefik can serve it, with 1 and the reason if not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.traefik.tls", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("/etc/traefik/certificates"), help="%(default)s")
    try:
        check(parser.parse_args().folder)
    except CertificateUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

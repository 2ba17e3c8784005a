"""TLS for connections to NATS: which certificates they trust, and which one they present."""

from __future__ import annotations

import ssl

from services.chassis.nats.credential_files import BadFile


def tls_context(ca_file: str, cert_file: str, key_file: str, section: str = "nats.") -> ssl.SSLContext:
    """A context that trusts `ca_file` (or the system's certificates, if ""), and presents `cert_file` if it is given.

    Raises `BadFile`, which names the setting, with `section` before its name.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # and ssl.SSLError
        raise BadFile(f"{section}ca_file: {ca_file}: expected certificates in PEM: {_reason(error)}") from None
    if cert_file:
        try:
            # Without the last argument OpenSSL would ask for a password on the terminal.
            context.load_cert_chain(cert_file, key_file, lambda: "")
        except OSError as error:
            raise BadFile(
                f"{section}cert_file: {cert_file}, {section}key_file: {key_file}: expected a certificate and its own "
                f"private key in PEM, not encrypted: {_reason(error)}"
            ) from None
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__

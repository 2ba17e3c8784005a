"""A port on which two processes listen, and the choice which of them gets the next connection.

Traefik listens before it has read its routes, and answers 404 until then; while it restarts nobody listens. So its
keeper listens on the same port (SO_REUSEPORT), and a program in the kernel hands each new connection to one of them: it
returns the index of a socket among the sockets of the port, in the order in which they began to listen. Accepted
connections stay where they are. If there is no socket at that index, because Traefik has died, the kernel hands the
connection to the remaining process.

Both processes must have the same user, and Traefik's entry point must have `reusePort`. Only Linux lets a program
choose: elsewhere there is no gate, and only Traefik listens on the port.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys
import time
from typing import Final

SUPPORTED: Final = sys.platform == "linux"

_SO_ATTACH_REUSEPORT_CBPF: Final = 51  # asm-generic/socket.h; the module `socket` does not name it
_RETURN_CONSTANT: Final = 0x06  # BPF_RET | BPF_K
_BACKLOG: Final = 1024
_FREE_S: Final = 3.0
"""How long the remains of a killed keeper may still hold a port."""
_POLL_S: Final = 0.05

_OURS: Final = 0
_THEIRS: Final = 1


_NO_SUCH_OPTION: Final = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM)
"""The errors of a sandbox that replaces the kernel, or does not permit the option."""


class GatesUnsupported(Exception):
    """This kernel lets no program choose between two sockets of a port."""


class Gate:
    """Listens on an address, such as "127.0.0.1:8000" or ":8000" (all addresses), closed at first.

    While it is closed, `socket` gets the connections; while it is open, the other process on the port does. Raises
    OSError if another process already listens there, even one that would share the port; `GatesUnsupported` if this
    kernel lets no program choose.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        family, host = _family(host.strip("[]"))
        _wait_until_free(family, host, int(port))
        self.socket = _socket(family, host, int(port), shared=True)
        try:
            self.socket.listen(_BACKLOG)
            self.close()
        except OSError as error:
            self.socket.close()
            if error.errno in _NO_SUCH_OPTION:
                raise GatesUnsupported(f"SO_ATTACH_REUSEPORT_CBPF: {error.strerror}") from None
            raise

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def open(self) -> None:
        """Leaves new connections to the other process. Connections that already wait are still ours."""
        self._choose(_THEIRS)

    def close(self) -> None:
        """Takes new connections."""
        self._choose(_OURS)

    def _choose(self, place: int) -> None:
        instruction = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN_CONSTANT, 0, 0, place))
        program = struct.pack("HL", 1, ctypes.addressof(instruction))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


def _family(host: str) -> tuple[socket.AddressFamily, str]:
    """The address family that Go uses for the host, as sockets of two families do not share a port; and the host in
    it."""
    if host in ("", "0.0.0.0", "::"):
        return (socket.AF_INET6, "::") if _dual_stack() else (socket.AF_INET, "0.0.0.0")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), host


def _socket(family: socket.AddressFamily, host: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if host == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _wait_until_free(family: socket.AddressFamily, host: str, port: int) -> None:
    deadline = time.monotonic() + _FREE_S
    while True:
        try:
            _socket(family, host, port, shared=False).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise OSError(error.errno, f"{host}:{port}: {error.strerror}") from None
        time.sleep(_POLL_S)


def _dual_stack() -> bool:
    """Whether an IPv6 socket can serve IPv4 too: Go then uses one for all addresses, even for "0.0.0.0"."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::ffff:127.0.0.1", 0))
        return True
    return False

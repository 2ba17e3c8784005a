"""The container's health: exit code 0 when the service in it is ready.

The port is the one of the service that runs as process 1, told from its command line and its FAIRLEAD_*_PORT variable.
"""

import http.client
import os
import sys
from pathlib import Path

DEFAULT_PORTS = {"edge": 8101, "sessions": 8201, "metrics": 8301}
TIMEOUT_S = 2.5


def port() -> int:
    arguments = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    service = next(word.removeprefix("services.") for word in arguments if word.startswith("services."))
    return int(os.environ.get(f"FAIRLEAD_{service.upper()}_PORT") or DEFAULT_PORTS[service])


def main() -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.read(200).decode(errors="replace").strip())
        return 0 if answer.status == 200 else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

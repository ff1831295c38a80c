"""Ports of 127.0.0.1 that stay the same from start to start, as long as nobody else takes them."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from services.embedded.files import write_private

# Below the ports that systems hand to outgoing connections (Linux: from 32768): a client that retries a stopped
# server there can be handed that very port, connect to itself and keep the server from coming back.
PORTS = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody listens on now."""
    while not is_free(port := random.SystemRandom().choice(PORTS)):
        pass
    return port


def remembered_ports(path: Path, names: Sequence[str]) -> dict[str, int]:
    """A free port for each name: the one kept in the file `path` while it is free, else another, which is then kept."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        kept = {}
    ports: dict[str, int] = {}
    for name in names:
        port = kept.get(name)
        while port is None or port in ports.values() or not is_free(port):
            port = free_port()
        ports[name] = port
    if ports != kept:
        write_private(path, json.dumps(ports))
    return ports

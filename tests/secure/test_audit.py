"""`make audit` tells apart: nothing known, something known, nobody asked."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.pipeline import REPOSITORY, free_port


@contextmanager
def vulnerabilities_of(package: str | None) -> Iterator[str]:
    """A service that knows a vulnerability of this package, in the form of osv.dev."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]
            affected = {"package": asked, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}
            known = {"vulns": [{"id": "TEST-2026-1", "details": "a test", "affected": [affected]}]}
            body = json.dumps(known if asked["name"] == package else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            server.shutdown()


def audit(service: str) -> tuple[int, str]:
    """The exit code, and what was said."""
    if not (REPOSITORY / ".venv-audit/.ready").exists():
        pytest.skip("pip-audit is installed by `make audit`")
    environment = {**os.environ, "OSV_URL": service, "no_proxy": "127.0.0.1"}
    found = subprocess.run(
        [".ci/audit"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return found.returncode, found.stdout


def test_packages_of_which_nothing_is_known() -> None:
    with vulnerabilities_of(None) as service:
        assert audit(service) == (0, "No vulnerability is known of the packages in requirements/runtime.txt.\n")


def test_a_package_with_a_known_vulnerability() -> None:
    with vulnerabilities_of("httpx") as service:
        code, said = audit(service)
    assert code == 1
    assert "TEST-2026-1" in said
    assert "Upgrade these" in said


def test_a_service_that_cannot_be_asked_is_no_clean_bill() -> None:
    service = f"http://127.0.0.1:{free_port()}/v1/query"
    code, said = audit(service)
    assert code == 3
    assert f"Not audited: {service} did not answer." in said

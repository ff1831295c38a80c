"""What docs/quick-start.md tells a newcomer to type, typed: their own event is a row, and the API shows it."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.documents import ROOT, shell_block
from tests.integration.pipeline import REPOSITORY, Pipeline, free_port, until

pytestmark = pytest.mark.integration

GUIDE = ROOT / "docs" / "quick-start.md"
# The shell's own programs: minegnk of this code, and a curl where there is none.
PROGRAMS = f"""
minegnk() {{ PYTHONPATH="{REPOSITORY}" "{sys.executable}" -m services "$@"; }}
curl() {{ "{sys.executable}" -c 'import sys, httpx; print(httpx.get(sys.argv[-1]).raise_for_status().text)' "$@"; }}
"""


async def test_ones_own_event_is_a_row_and_the_api_shows_it(pipeline: Pipeline, tmp_path: Path) -> None:
    port = free_port()

    def typed(name: str) -> str:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", PROGRAMS + shell_block(GUIDE, name).replace(":8080", f":{port}")],
            env=pipeline.environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    pipeline.start("cache")
    pipeline.start("api", MINEGNK_API_PORT=str(port))
    typed("publish")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False) as client:

        async def shown() -> bool:
            try:
                return (await client.get("/nodes/gonka1quickstart")).is_success
            except httpx.TransportError:
                return False

        await until(shown, "the node is shown")
    seen = typed("look")
    assert '"jobs_day":7' in seen
    assert "1 nodes (1 with stats)" in seen

"""The documentation as a site: every page is there, and nothing in it is fetched from elsewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, ROOT


@pytest.fixture(scope="module")
def site() -> Path:
    if not (ROOT / ".venv-docs" / ".ready").exists():
        pytest.skip("The site's packages are not installed: run make docs once.")
    subprocess.run(["make", "--silent", "docs"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    return ROOT / "site"


def test_every_document_is_a_page(site: Path) -> None:
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    names = {str(path.relative_to(ROOT).with_suffix(".html")).replace("README", "index") for path in DOCUMENTS}
    assert names - pages == set()


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetching = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert fetching.findall(text) == [], page
        assert 'class="mermaid"' not in text, f"{page}: a diagram would load its script from elsewhere"

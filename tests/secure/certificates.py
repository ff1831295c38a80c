"""Certificates for tests, made with OpenSSL's own command."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def needs_package(name: str, purpose: str) -> NoReturn:
    """Skip what needs a Debian package that is not there; in CI it is installed, so fail."""
    missing = f"{name} is not installed, {purpose} (Debian: apt install {name})"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that only exists in `folder`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            needs_package("openssl", "to make certificates with")
        folder.mkdir(parents=True)
        self._folder = folder
        self._own = Certificate(folder / "authority.pem", folder / "authority.key")
        self._make(self._own, "/CN=an authority", "-addext", "basicConstraints=critical,CA:TRUE")

    @property
    def file(self) -> Path:
        """What one who trusts this authority needs."""
        return self._own.certificate

    def sign(self, name: str, *, host: str | None = None) -> Certificate:
        """A certificate for the name and, where it is a server's, for its host."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        options = ["-addext", f"subjectAltName={host}"] if host else []
        signer = ["-CA", str(self._own.certificate), "-CAkey", str(self._own.key)]
        self._make(made, f"/CN={name}", *signer, "-addext", "basicConstraints=CA:FALSE", *options)
        return made

    def _make(self, made: Certificate, subject: str, *options: str) -> None:
        files = ["-out", str(made.certificate), "-keyout", str(made.key)]
        subprocess.run(
            ["openssl", "req", "-x509", *_KEY, "-days", "2", "-subj", subject, *files, *options],
            check=True,
            capture_output=True,
        )
        made.key.chmod(0o600)


def encrypted_key(certificate: Certificate, password: str) -> Path:
    """The certificate's key, encrypted with a password."""
    file = certificate.key.with_suffix(".encrypted.key")
    options = ["-aes256", "-passout", f"pass:{password}"]
    subprocess.run(
        ["openssl", "pkey", "-in", str(certificate.key), "-out", str(file), *options], check=True, capture_output=True
    )
    return file

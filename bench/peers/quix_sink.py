"""Quix Streams with its PostgreSQL sink.

Follows its documentation: rows upserted by `primary_key_columns`, the record's key and time kept out of the row, the
sink's own DDL off because the table exists. The sink is flushed at each checkpoint, which is `commit_every` records
(--batch) or a second; each partition is then a transaction of its own.

At least once: the checkpoint commits the offsets after the sink's transactions. Of a batch the sink keeps the last row
of each key, in the order of reading. It does not let the newest win: an older reading that is read later overwrites
the row. A column that the first reading of a partition's batch does not have is left out for the whole of it. It lacks
overlap of polling and writing, dead letters (an undecodable record ends the process, again at each start) and retries
(so does a database that is away for a moment).
"""

from typing import Any

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from bench.peers.command import Arguments, arguments
from services.kernel.events import READINGS_TOPIC
from services.kernel.settings import DatabaseSettings, KafkaSettings, load


def create_app(given: Arguments) -> Application:
    """The application, with one stream into the sink."""
    database = load(DatabaseSettings)
    app = Application(
        load(KafkaSettings).bootstrap_servers,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        commit_every=given.batch,
        loglevel="WARNING",
    )
    sink = PostgreSQLSink(
        host=database.host,
        port=database.port,
        dbname=database.database,
        user=database.username,
        password=database.password.get_secret_value(),
        table_name=given.table,
        primary_key_columns="identifier",
        upsert_on_primary_key=True,
        include_metadata=False,
        schema_auto_update=False,
    )
    readings = app.dataframe(app.topic(READINGS_TOPIC, value_deserializer="json"))
    readings.apply(_row).sink(sink)
    return app


def _row(reading: dict[str, Any]) -> dict[str, Any]:
    """PostgreSQL reads times and decimals from their text."""
    return {
        "identifier": reading["identifier"],
        "source": reading["source"],
        "fetched_at": reading["observed_at"],
        "status": reading.get("status"),
        "jobs_day": reading.get("jobs_day"),
        "active_model": reading.get("active_model"),
        "voting_weight": reading.get("voting_weight"),
    }


if __name__ == "__main__":
    create_app(arguments(batch=10_000)).run()

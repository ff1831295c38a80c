"""Publish one reading. MINEGNK_KAFKA_BOOTSTRAP_SERVERS says where Kafka is."""

import asyncio
import json
import os
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

reading = {
    "identifier": "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7",
    "identifier_type": "wallet",
    "source": "my-tracker",
    "observed_at": datetime.now(UTC).isoformat(),
    "status": "healthy",
}


async def main() -> None:
    brokers = os.environ.get("MINEGNK_KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    async with AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True) as producer:
        key = reading["identifier"].encode()
        await producer.send_and_wait("node.readings.v1", json.dumps(reading).encode(), key=key)


asyncio.run(main())

"""The partition of a key is the one that every client of Kafka gives it."""

from random import Random

from aiokafka.partitioner import DefaultPartitioner

from services.kernel.publisher import partition_of


def test_a_key_has_the_partition_of_aiokafkas_own_partitioner() -> None:
    theirs, random, every = DefaultPartitioner(), Random(1), list(range(12))
    for key in [b"", b"a", *(random.randbytes(random.randrange(60)) for _ in range(1000))]:
        assert partition_of(key, every, every) == theirs(key, every, every)
        assert partition_of(key, every, every) == theirs(key, every, every), "again, from memory"


def test_a_record_without_a_key_goes_to_a_partition_that_is_there() -> None:
    assert {partition_of(None, [0, 1, 2], [1]) for _ in range(20)} == {1}

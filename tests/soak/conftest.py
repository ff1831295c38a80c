"""The soak uses the same pipeline as the integration tests."""

from tests.integration.conftest import kafka, new_database, pipeline

__all__ = ["kafka", "new_database", "pipeline"]

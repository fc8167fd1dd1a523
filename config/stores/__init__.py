"""The embedded stores: real PostgreSQL, Redis and ClickHouse engines from wheels."""

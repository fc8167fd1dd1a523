"""What writes telemetry: taking exports in, and keeping the schema of ClickHouse."""

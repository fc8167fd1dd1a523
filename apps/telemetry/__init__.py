"""Telemetry: the spans and log lines that runs tell, kept in ClickHouse.

This app owns the OTLP intake, the buffer between it and ClickHouse, the schema there, and the
reading of one run's lines and trace. It promises three things. A row always belongs to the
environment whose key delivered it, whatever its attributes claim. A run never waits for
telemetry: intake answers from memory, and while ClickHouse is away rows wait in a bounded buffer,
of which the oldest are shed and counted. A delivery that is repeated shows once.

    OTLP request -> otlp/ (decode) -> rows (normalise) -> buffer (bounded) -> store (ClickHouse)
"""

"""OTLP/HTTP exports, decoded from JSON or protobuf to the same raw records."""

"""What others rely on: the real clients, and the OpenAPI document."""

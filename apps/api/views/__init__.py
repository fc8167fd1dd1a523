"""Endpoints, one module per kind of thing."""

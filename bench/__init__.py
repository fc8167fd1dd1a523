"""Benchmarks: what the system does per second, and how long things take, on one machine."""

"""A live server, for whoever speaks to it from outside of this process."""

from tests.live import live_process, web

__all__ = ["live_process", "web"]

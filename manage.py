#!/usr/bin/env python
"""Django's command line, with Holdfast's commands."""

import os
import sys

from django.core.management import execute_from_command_line

from config.env import ConfigurationError
from config.stores.urls import ensure_secret, home_folder

# Of all commands, these may find no secret key: they make the home that keeps it.
FOUNDERS = {"up", "stores", "demo"}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if FOUNDERS.intersection(sys.argv[1:2]) and not os.environ.get("SECRET_KEY"):
        ensure_secret(home_folder())
    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.exit(str(error))

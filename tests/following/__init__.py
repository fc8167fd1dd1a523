"""The migrations of a release that follows: what they do to tables that this one uses."""

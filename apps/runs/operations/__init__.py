"""Everything that changes a run."""

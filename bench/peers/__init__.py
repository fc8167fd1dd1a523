"""What a Python team would use instead, measured beside Holdfast on the same machine and stores."""

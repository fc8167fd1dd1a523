"""What changes an organization."""

"""What changes versions and deployments."""

"""The replaceable process that answers requests."""

"""The operator's view of a fleet: its configuration, its devices, what they report."""

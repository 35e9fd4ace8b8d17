"""Why this device does not update: one look at everything an update needs."""

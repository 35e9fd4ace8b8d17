"""From a registered version to a signed release, and back. Knows no devices."""

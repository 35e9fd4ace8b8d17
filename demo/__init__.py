"""The whole path on one machine: `make demo`. Nothing in edgekit needs it."""

"""The agent's folder on the device: what it remembers, and the bundles it holds."""

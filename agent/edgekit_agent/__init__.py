"""The daemon that runs on the device: fetch, verify, prove, serve, undo, report."""

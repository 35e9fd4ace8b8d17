"""The short-lived process that finds out what to run, and fetches it."""

"""The native model in a child process of its own, and what is taken out of it."""

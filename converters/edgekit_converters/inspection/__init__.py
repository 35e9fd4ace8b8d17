"""Look at a graph without running it: what it holds, and where it will run."""

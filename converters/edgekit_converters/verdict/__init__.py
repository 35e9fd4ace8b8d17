"""Run every candidate, compare it, keep or drop it, and choose one for each board."""

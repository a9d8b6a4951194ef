"""Rules that somebody brings: read, given a bench that fits them, loaded, and counted."""

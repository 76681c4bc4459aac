"""What every program has in common: its command line, its exit codes, files written whole, and ending in order."""

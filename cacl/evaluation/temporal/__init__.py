"""What differs in time alone: clips for it, and probes of it."""

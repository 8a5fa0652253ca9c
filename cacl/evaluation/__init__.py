"""What was learnt: features of videos, retrieval, baselines and probes: numbers only. Trains no network."""

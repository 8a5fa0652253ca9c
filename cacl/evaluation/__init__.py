"""What was learnt: features of videos, retrieval, baselines, and the report. Trains no network."""

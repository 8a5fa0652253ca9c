"""Whole experiments put together from trainings and evaluations: a run's evaluation, and the demo."""

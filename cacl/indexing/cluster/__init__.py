"""The videos of an index embedded by many processes, of many machines."""

"""Frozen networks that look at single frames: from registry packages, model files and model hubs."""

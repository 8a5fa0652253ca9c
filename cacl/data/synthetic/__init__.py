"""The demo's own videos: generated, then encoded as real files."""

"""The page on an index: ``cacl serve`` answers a browser on this machine, and shows only what the index names."""

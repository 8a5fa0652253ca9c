"""From a folder of videos to batches of clips: catalog, decode, store, clips, shuffle, augment, loader."""

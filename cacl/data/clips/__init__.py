"""From videos to batches of clips: which frames, shuffled how, augmented how, in which order."""

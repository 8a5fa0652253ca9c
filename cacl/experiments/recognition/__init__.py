"""Recognition: fine-tuning an encoder on labelled videos, testing it, and using the classifier that it gives."""

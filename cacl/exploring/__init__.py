"""What kinds of things an index holds: labels of stretches, classes learnt from them, what to label next, a map."""

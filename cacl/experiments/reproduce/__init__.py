"""The tables of the paper, made again: what is trained and evaluated for a row, and ours beside the paper's numbers."""

"""How it is learnt: precision, optimiser, checkpoint, the loop, and the stages put together."""

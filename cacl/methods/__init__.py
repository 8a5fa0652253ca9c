"""What is learnt: the losses, the momentum copies with their queue, CACL, and MoCo on frames."""

"""What is learnt: the contract of a method, and the methods: CACL, CVRL, VCOP, MoCo on frames, recognition."""

"""Methods that the paper is compared with, one file each on the contract (``docs/rivals.md``)."""

"""An index whose vectors lie on a vector server too: pushed there, and searched there."""

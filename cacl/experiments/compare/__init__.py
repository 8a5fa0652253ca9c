"""``cacl compare``: methods beside each other under equal conditions, with what they cost and how sure it is."""

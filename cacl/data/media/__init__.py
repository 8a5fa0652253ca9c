"""Media files: opened, decoded to exactly the frames asked for, in a process of their own."""

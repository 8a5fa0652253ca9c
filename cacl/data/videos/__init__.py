"""Folders of videos: every file accounted for, its labels and lists, and the store of decoded frames."""

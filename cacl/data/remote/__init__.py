"""Videos that are not on the disk: places, servers, and files that are read by ranges."""

"""Where the frames of a store lie: in its folder, in shares on several disks, on a server."""

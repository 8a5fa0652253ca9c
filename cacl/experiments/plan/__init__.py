"""What work on an archive is going to take: measured here for a minute, and worked out for any size."""

"""What this machine has and gets right: devices, memory, threads, precision."""

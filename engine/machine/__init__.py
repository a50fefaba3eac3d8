"""What this machine is doing: readings of its GPUs, or of the CPU."""

"""Readings of the machine's GPUs, or of the CPU."""

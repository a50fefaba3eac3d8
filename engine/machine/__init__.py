"""The machine: readings of its GPUs or its CPU, what a process has used, and how glibc keeps memory."""

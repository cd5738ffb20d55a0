"""Whether a machine can do the work: GPUs and their connection, memory, disks, the shared folder, versions."""

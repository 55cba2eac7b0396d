"""What a rig runs in place of a kernel with NVIDIA's driver: copied into it, with the standard library alone."""

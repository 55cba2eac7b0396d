"""NVIDIA's driver on a rig: what is installed, kept, limited and checked."""

"""What a rig has, read without changing it."""

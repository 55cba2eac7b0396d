"""The lock file: what was planned for each rig, pinned beside the inventory, held against what is, and renewed."""

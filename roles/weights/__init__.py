"""Model files on a rig: uploaded or downloaded, checked, never hashed twice."""

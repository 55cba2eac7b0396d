"""Is every rig serving as planned? Checks by pytest and testinfra that share nothing with what made the rig so."""

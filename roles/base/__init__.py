"""What every rig needs first: the builder's account, packages, directories."""

"""From an inventory's wishes and a rig's hardware to the plan that runs."""

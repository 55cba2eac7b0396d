"""One package per piece of software that lands on a rig."""

"""Bundles are gathered: all that a plan needs of the internet, on a machine that reaches it."""

"""The rigs of an inventory: who they are, what they have, and what if they had more."""

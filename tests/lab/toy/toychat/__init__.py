"""A toy engine as another package brings it: a small HTTP program that answers every chat with the same words."""

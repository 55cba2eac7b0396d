"""The JSON answers of the commands, and their schemas."""

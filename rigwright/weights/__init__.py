"""Model files as the controller sees them: catalogue, hub, headers, checksums."""

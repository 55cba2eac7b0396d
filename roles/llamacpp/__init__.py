"""llama.cpp: built from source on the rig, one systemd unit for each service."""

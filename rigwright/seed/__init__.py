"""The bare-metal side of a rig: what installers of Ubuntu and Debian are told, as text."""

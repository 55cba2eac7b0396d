"""What an inventory may say of a rig: the key `rig`, checked."""

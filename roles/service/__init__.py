"""What every engine's service shares: unit, keys, switch, proof, rollback and removal, behind the Engine protocol."""

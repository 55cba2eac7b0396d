"""What runs where, with which flags, and why: pure functions over values."""

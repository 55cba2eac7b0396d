"""Plans and machines as people and programs read them: tables, drawings, JSON."""

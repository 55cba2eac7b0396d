"""What would run, before anything is touched: `rigwright plan`, `size` and `recommend`."""

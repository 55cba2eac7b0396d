"""From a wish to the flags of an engine, one module per engine."""

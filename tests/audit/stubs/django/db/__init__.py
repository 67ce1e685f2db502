"""See django."""

"""What is done with a search under way, from any machine that sees its directory."""

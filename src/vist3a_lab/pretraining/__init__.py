"""Training of the embedded networks from scratch on the procedural world."""

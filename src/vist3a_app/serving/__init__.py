"""The generator behind a door: one core that reads requests, generates and writes, and the doors that open on it."""

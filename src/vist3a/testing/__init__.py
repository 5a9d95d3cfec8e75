"""Conformance kits: what a part has to keep so that everything else works with it. They need no test framework."""

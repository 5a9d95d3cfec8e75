"""Raw videos and image folders, or the procedural world, to checked clips and their index."""

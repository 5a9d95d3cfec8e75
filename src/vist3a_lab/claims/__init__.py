"""The paper's claims on the procedural world: figures per scene, their intervals, and what follows for each claim."""

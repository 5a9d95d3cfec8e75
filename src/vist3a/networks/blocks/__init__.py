"""Parts of the VGGT family of networks, one idea per module; state-dict keys equal the published ones."""

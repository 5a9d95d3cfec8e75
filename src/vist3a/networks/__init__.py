"""Feed-forward multi-view 3D networks that can be entered at any block; each in its module, found by name in the registry."""

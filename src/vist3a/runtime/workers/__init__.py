"""Workers that load once and take one item after the other: in this process, in others of this machine, or on a Ray cluster."""

"""The tower without a cluster: the real processes on loopback, supervised by honcho."""

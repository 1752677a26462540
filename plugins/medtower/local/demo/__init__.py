"""The story that `make demo` tells: the whole loop once, every step real."""

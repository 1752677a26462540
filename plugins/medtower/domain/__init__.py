"""Types without I/O: the words of the architecture, as code. Standard library and pydantic only."""

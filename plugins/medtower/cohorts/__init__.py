"""Data in: synthetic patients, tables and studies, what must hold of them, and the numbers a model takes."""

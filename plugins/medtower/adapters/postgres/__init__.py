"""Postgres: the schema `medtower` with its migrations, and one module of small functions for each thing that is kept there."""

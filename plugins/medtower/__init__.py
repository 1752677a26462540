"""Medtower: the whole life of clinical models on one GPU tower."""

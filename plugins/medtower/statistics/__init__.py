"""Intervals and multiplicity control: what evaluation, drift and tracking share. numpy and the standard library only."""

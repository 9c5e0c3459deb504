"""Composition: the loop, journal, control, configuration and command line."""

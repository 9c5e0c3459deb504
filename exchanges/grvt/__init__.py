"""The GRVT adapter."""

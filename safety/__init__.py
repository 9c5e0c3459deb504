"""Limits, gate, latch and unwind. Pure; may import strategy leaf modules only (ADR 0005)."""

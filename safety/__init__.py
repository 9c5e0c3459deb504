"""Limits, gate, latch and unwind. Pure; may import strategy.domain only."""

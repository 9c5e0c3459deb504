"""Venue adapters, transports and the simulator. May import strategy.domain only."""

"""Benchmarks: the router against its baselines on recorded markets, and the hot path's latency."""

"""The Backpack adapter."""

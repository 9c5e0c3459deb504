"""Measurements that print figures; each module runs by itself and asserts nothing."""

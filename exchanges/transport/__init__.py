"""HTTP and WebSocket transports with explicit deadlines."""

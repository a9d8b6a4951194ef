"""The edge: sockets, timers and tasks around the sans-io cores, on asyncio."""

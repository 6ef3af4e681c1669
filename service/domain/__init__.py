"""What the service is about, in plain Python: no I/O, no asyncio, no clock, no random, no third-party package."""

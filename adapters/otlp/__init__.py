"""Traces and metrics by OTLP (OpenTelemetry's protocol) over HTTP, in protobuf.

Spans are objects of our own, encoded on the thread that sends them: all of it costs a fraction of what the SDK's
would. Imported only where the settings name a collector.
"""

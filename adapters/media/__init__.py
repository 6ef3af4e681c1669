"""Fetches what stands at addresses in requests, for endpoints that take bytes only, and from public hosts only."""

from .fetcher import WebFetcher
from .limits import MediaLimits

__all__ = ["MediaLimits", "WebFetcher"]

"""Sockets and bytes: HTTP/1.1 in and out. Knows no models, users or SQL."""

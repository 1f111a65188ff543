"""The one exception that ends one request and nothing else: it cannot become a sequence, or not go on as one."""


class Refused(Exception):
    """`error` is what the router is told: {"kind", "message", …}, see `channel.py`."""

    def __init__(self, **error):
        super().__init__(error["kind"])
        self.error = error

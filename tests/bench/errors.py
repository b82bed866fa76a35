"""Why a run of the bench ends without figures; each message is for people."""


class BenchError(Exception):
    """The run cannot go on."""

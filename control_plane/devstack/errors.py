"""Why the stack cannot run. Each message is for people and says what to do."""


class StackError(Exception):
    """Base of all."""


class StartFailed(StackError):
    """A process does not start; the message has the end of its log."""


class PortTaken(StackError):
    """Somebody else listens on a port that the stack was told to use."""


class FolderInUse(StackError):
    """Another `muster dev` runs on this folder."""


class StateUnreadable(StackError):
    """DIR/state.json is not what this program wrote."""

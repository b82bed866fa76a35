"""Composition root of a control-plane process: settings -> storage -> queue -> services -> gRPC server."""

from control_plane.app.process import Running, control_plane, main

__all__ = ["Running", "control_plane", "main"]

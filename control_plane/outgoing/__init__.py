"""Published: connections to addresses that somebody else chose. The one place of the control plane that knows HTTP."""

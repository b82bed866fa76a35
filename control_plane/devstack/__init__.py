"""The whole stack on one machine, on embedded engines: `muster dev`, and the show that `make demo` runs on it."""

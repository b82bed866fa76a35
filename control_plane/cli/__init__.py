"""The `muster` command: one typer app, a file for each noun. Heavy imports wait inside the functions that need them."""

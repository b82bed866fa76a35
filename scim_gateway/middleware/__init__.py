"""What every request passes, outermost first: observe, errors, auth."""

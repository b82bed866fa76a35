"""One class per family of endpoints: parse -> one call -> render."""

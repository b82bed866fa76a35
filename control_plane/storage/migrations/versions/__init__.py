"""One file per step of the schema: number + intent. Old code must run on the new schema."""

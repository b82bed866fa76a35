"""Alembic's folder: ``env.py`` runs what stands in ``versions``. Run it through ``control_plane.storage.migrate``."""

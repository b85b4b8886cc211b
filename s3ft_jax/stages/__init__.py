"""Stages: each reads config and files, calls rooms and writes files. No logic of the method lives here."""

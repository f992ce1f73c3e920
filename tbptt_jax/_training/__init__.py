"""Jitted steps that train, evaluate and learn online."""

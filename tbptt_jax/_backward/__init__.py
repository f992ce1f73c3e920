"""Carrying errors back through time, within their horizon."""

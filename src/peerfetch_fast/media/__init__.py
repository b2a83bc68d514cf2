"""Cameras and microphones: encoded pictures and sound, from one source to many viewers."""

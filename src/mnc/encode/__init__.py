"""Encode: a change event becomes a message. Pure: subject, message id and Extended JSON."""

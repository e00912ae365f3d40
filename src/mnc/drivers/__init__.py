"""The only places that know a client library: pymongo in `mongo`, nats-py in `nats`."""

"""Room: the model. One decoder for all families; what differs between families is data (config and weight rows)."""

"""The command `cybackprop`: train, predict, info, config."""

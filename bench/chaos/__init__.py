"""Load while everything is killed, stopped, cut and shifted; and a reader of the history after."""

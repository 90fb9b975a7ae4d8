"""The mirror: a Perspective table that holds what a query on TDengine returns now."""

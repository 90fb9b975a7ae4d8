"""Enough of TDengine's adapter protocol for this demo and its tests; not a database to keep data in."""

"""A stand-in for TDengine and its adapter: connections, SQL, data and bytes; no database to build on."""
